"""sock_connect(): what it connects to, what it says when it cannot, and who gives up."""

import asyncio
import contextlib
import socket
import ssl
import sys

import pytest
from support.sockets import new_pair, run, serve_a_read, turns


def not_blocking(family=socket.AF_INET, type=socket.SOCK_STREAM):
    sock = socket.socket(family, type)
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def full_listener():
    """A listener whose queue is full: who connects now waits until it is asked again, for a second at least."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        listener.setblocking(False)
        for _ in range(3):
            stack.enter_context(not_blocking()).connect_ex(listener.getsockname())
        yield listener


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6")


# ---- what it connects to -----------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", b"127.0.0.1", "127.1"])
def test_addresses_and_names(loop, host):
    async def main(listener):
        sock = not_blocking()
        task = asyncio.create_task(loop.sock_connect(sock, (host, listener.getsockname()[1])))
        peer, address = await loop.sock_accept(listener)
        with sock, peer:
            assert await task is None
            assert sock.getsockname() == address
            await serve_a_read(loop, sock, peer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        run(loop, main(listener))


@ipv6
@pytest.mark.parametrize("rest", [(), (0,), (0, 0)])
def test_ipv6_of_any_length(loop, rest):
    async def main(listener):
        with not_blocking(socket.AF_INET6) as sock:
            await loop.sock_connect(sock, ("::1", listener.getsockname()[1], *rest))
            assert sock.getpeername() == listener.getsockname()

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        run(loop, main(listener))


@pytest.mark.parametrize("kind", [str, str.encode])
def test_paths(loop, tmp_path, kind):
    path = kind(str(tmp_path / "socket"))

    async def main(listener):
        with not_blocking(socket.AF_UNIX) as sock:
            await loop.sock_connect(sock, path)
            peer, _ = await loop.sock_accept(listener)
            with peer:
                await serve_a_read(loop, sock, peer)

    with not_blocking(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        run(loop, main(listener))


def test_datagram_sockets_have_a_peer_at_once(loop):
    async def main():
        with not_blocking(type=socket.SOCK_DGRAM) as ours, not_blocking(type=socket.SOCK_DGRAM) as theirs:
            theirs.bind(("127.0.0.1", 0))
            await loop.sock_connect(ours, theirs.getsockname())
            await loop.sock_sendall(ours, b"hello")
            assert await loop.sock_recv(theirs, 10) == b"hello"

    run(loop, main())


def test_blocking_sockets(loop):
    async def main(address):
        with socket.socket() as sock:
            await loop.sock_connect(sock, address)
            assert sock.getpeername() == address

    with socket.create_server(("127.0.0.1", 0)) as listener:
        run(loop, main(listener.getsockname()))


def test_full_queue_of_a_unix_socket(loop, tmp_path):
    """asyncio takes it for connected; what is sent then fails."""
    path = str(tmp_path / "socket")

    async def main():
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                sock = stack.enter_context(not_blocking(socket.AF_UNIX))
                assert await loop.sock_connect(sock, path) is None
            with pytest.raises(OSError):
                sock.send(b"x")

    with not_blocking(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        run(loop, main())


# ---- what it says ------------------------------------------------------------------


def outcome(loop, make_sock, address):
    """The exception of a sock_connect()."""

    async def main():
        with make_sock() as sock:
            try:
                await loop.sock_connect(sock, address)
            except Exception as error:
                return error

    return run(loop, main())


def unused_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def same_as_stock(loop, make_sock, address):
    stock = asyncio.SelectorEventLoop()
    try:
        expected = outcome(stock, make_sock, address)
    finally:
        stock.close()
    error = outcome(loop, make_sock, address)
    assert expected is not None
    assert type(error) is type(expected)
    assert str(error) == str(expected)
    assert getattr(error, "errno", None) == getattr(expected, "errno", None)
    return error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", b"127.0.0.1"])
def test_refused(loop, host):
    error = same_as_stock(loop, not_blocking, (host, unused_port()))
    assert type(error) is ConnectionRefusedError
    assert "Connect call failed ('127.0.0.1', " in str(error) or isinstance(host, bytes)


@ipv6
@pytest.mark.parametrize("rest", [(), (0,), (0, 0)])
def test_refused_by_ipv6(loop, rest):
    port = unused_port()
    error = same_as_stock(loop, lambda: not_blocking(socket.AF_INET6), ("::1", port, *rest))
    assert str(error).endswith(f"Connect call failed ('::1', {port}, 0, 0)")


def test_refused_by_unix_sockets(loop, tmp_path):
    def make():
        return not_blocking(socket.AF_UNIX)

    nobody = str(tmp_path / "nobody")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(nobody)
    assert type(same_as_stock(loop, make, nobody)) is ConnectionRefusedError
    assert type(same_as_stock(loop, make, str(tmp_path / "missing"))) is FileNotFoundError


@pytest.mark.parametrize(
    "address",
    [
        None,
        (),
        "127.0.0.1",
        ("127.0.0.1",),
        ("127.0.0.1", 1, 2),
        ("127.0.0.1", 65536),
        ("127.0.0.1", -1),
        ("127.0.0.1", "x"),
        (5, 5),
        ("no.such.name.invalid", 1),
    ],
    ids=repr,
)
def test_mistakes(loop, address):
    same_as_stock(loop, not_blocking, address)


@pytest.mark.parametrize("address", [None, ("127.0.0.1", 1), "", "x" * 200, "a\0b"], ids=lambda a: repr(a)[:20])
def test_mistakes_with_paths(loop, address):
    same_as_stock(loop, lambda: not_blocking(socket.AF_UNIX), address)


def test_closed_and_connected_sockets(loop):
    def closed():
        sock = not_blocking()
        sock.close()
        return sock

    same_as_stock(loop, closed, ("127.0.0.1", 1))
    same_as_stock(loop, closed, ("localhost", 1))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def connected():
            sock = socket.create_connection(listener.getsockname())
            sock.setblocking(False)
            return sock

        assert same_as_stock(loop, connected, listener.getsockname()).errno is not None


def test_debug_mode_wants_sockets_that_do_not_block(loop):
    loop.set_debug(True)
    error = outcome(loop, socket.socket, ("127.0.0.1", 1))
    assert type(error) is ValueError and str(error) == "the socket must be non-blocking"
    assert type(outcome(loop, not_blocking, ("127.0.0.1", unused_port()))) is ConnectionRefusedError


def test_tls_sockets(loop):
    context = ssl.create_default_context()
    context.check_hostname = False

    def make():
        return context.wrap_socket(not_blocking(), do_handshake_on_connect=False)

    assert type(same_as_stock(loop, make, ("127.0.0.1", 1))) is TypeError


AUDITED = []


def audit(event, args):
    if event == "socket.connect" and AUDITED:
        AUDITED.append(args[1])


@pytest.fixture
def audited():
    """The addresses that audit hooks are told of."""
    if not hasattr(audit, "installed"):
        sys.addaudithook(audit)
        audit.installed = True
    AUDITED[:] = [None]
    yield AUDITED
    AUDITED.clear()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_audit_hooks_see_the_address(loop, audited, host):
    port = unused_port()
    outcome(loop, not_blocking, (host, port))
    assert audited == [None, ("127.0.0.1", port)]


@ipv6
def test_audit_hooks_see_the_whole_address(loop, audited):
    outcome(loop, lambda: not_blocking(socket.AF_INET6), ("::1", 1))
    assert audited == [None, ("::1", 1, 0, 0)]


# ---- waiting -----------------------------------------------------------------------


def test_given_up_and_tried_again(loop):
    async def main():
        with full_listener() as listener, not_blocking() as sock:
            task = asyncio.create_task(loop.sock_connect(sock, listener.getsockname()))
            await turns(10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns()
            assert sock.fileno() not in loop._selector.get_map()
            task = asyncio.create_task(loop.sock_connect(sock, listener.getsockname()))
            await turns()
            assert not task.done()
            task.cancel()
            await turns()

    run(loop, main())


def test_waits_until_the_listener_has_room(loop):
    async def main():
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(full_listener())
            sock = stack.enter_context(not_blocking())
            task = asyncio.create_task(loop.sock_connect(sock, listener.getsockname()))
            await turns(10)
            assert not task.done()
            while not task.done():
                accept = asyncio.create_task(loop.sock_accept(listener))
                await asyncio.wait([accept, task], return_when=asyncio.FIRST_COMPLETED)
                if accept.done():
                    stack.enter_context(accept.result()[0])
                accept.cancel()
            assert task.exception() is None
            assert sock.getpeername() == listener.getsockname()
            await turns()
            assert sock.fileno() not in loop._selector.get_map()

    run(loop, main())


def test_two_who_wait_for_one_connection(native):
    loop = native

    async def main():
        with socket.socket() as listener, not_blocking() as sock:
            listener.bind(("127.0.0.1", 0))  # nobody listens
            both = [asyncio.create_task(loop.sock_connect(sock, listener.getsockname())) for _ in range(2)]
            results = await asyncio.gather(*both, return_exceptions=True)
            assert ConnectionRefusedError in map(type, results)  # the system tells it once

    run(loop, main())


def test_event_of_another_socket_that_had_the_descriptor(native):
    """It is delivered after the socket has gone: the new one is not connected by it."""
    loop = native

    async def main():
        ours, theirs = new_pair("UNIX")
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(full_listener())
            stack.enter_context(theirs)
            sending = asyncio.create_task(loop.sock_sendall(ours, bytes(1 << 22)))
            await turns()
            for _ in range(3):  # what is polled goes behind what is ready
                loop.call_soon(int)
            polls = loop.stats()["polls"]
            with contextlib.suppress(BlockingIOError):
                while theirs.recv(1 << 16):
                    pass
            while loop.stats()["polls"] == polls:
                await asyncio.sleep(0)
            number = ours.fileno()
            ours.close()
            sock = stack.enter_context(not_blocking())
            assert sock.fileno() == number
            connecting = loop.sock_connect(sock, listener.getsockname())
            future = connecting.send(None)
            sending.cancel()
            for _ in range(200):
                await asyncio.sleep(0)
            assert not future.done()
            connecting.close()

    run(loop, main())
