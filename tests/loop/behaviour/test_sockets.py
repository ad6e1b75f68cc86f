"""sock_*() and watched descriptors: closing and cancelling at the wrong moment."""

import asyncio
import socket

import pytest
from support.sides import peer_in_thread, receive_all

SIZE = 1 << 20


@pytest.fixture
def pair():
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


def test_accept_and_receive_from_a_blocking_peer(run, loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)

            def send():
                with socket.create_connection(listener.getsockname()) as sock:
                    sock.sendall(b"a" * SIZE)

            sending = loop.run_in_executor(None, send)
            connection, address = await loop.sock_accept(listener)
            with connection:
                assert connection.getpeername() == address and connection.gettimeout() == 0
                received = 0
                while data := await loop.sock_recv(connection, 65536):
                    received += len(data)
            assert received == SIZE
            await sending
        await loop.shutdown_default_executor()

    run(main)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_send_to_a_slow_peer(run, loop, kind):
    received = []

    async def main(address):
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            await loop.sock_sendall(sock, kind(b"abcd" * SIZE))

    with peer_in_thread(lambda connection: received.append(receive_all(connection))) as address:
        run(lambda: main(address))
    assert received == [b"abcd" * SIZE]


def test_refused(run, loop):
    async def main():
        with socket.socket() as taken, socket.socket() as sock:
            taken.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(sock, taken.getsockname())

    run(main)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_names_are_looked_up_for_the_socket_s_family(run, loop, family, monkeypatch):
    asked = []
    original = loop.getaddrinfo

    async def getaddrinfo(host, port, **options):
        asked.append(options["family"])
        return await original(host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)

    async def main():
        with socket.socket(family) as sock:
            sock.setblocking(False)
            with pytest.raises(OSError):
                await loop.sock_connect(sock, ("localhost", 0))

    run(main)
    assert asked == [family]


def test_ipv6_addresses_of_four(run, loop):
    async def main():
        try:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as error:
            pytest.skip(f"no IPv6: {error}")
        with listener, socket.socket(socket.AF_INET6) as sock:
            sock.setblocking(False)
            assert len(listener.getsockname()) == 4
            await loop.sock_connect(sock, listener.getsockname())
            assert sock.getpeername() == listener.getsockname()

    run(main)


def test_reader_removed_and_socket_closed_at_once(run, loop):
    async def main():
        for by_number in (False, True):
            with socket.create_server(("127.0.0.1", 0)) as sock:
                loop.add_reader(sock.fileno() if by_number else sock, print)
                await asyncio.sleep(0.001)
                loop.remove_reader(sock if by_number else sock.fileno())
            assert sock.fileno() == -1
            await asyncio.sleep(0.001)

    run(main)


@pytest.mark.parametrize("name", ["reader", "writer"])
def test_watching_again_replaces(run, loop, pair, name):
    add, remove = getattr(loop, f"add_{name}"), getattr(loop, f"remove_{name}")

    async def main():
        ran = []
        for number in range(3):
            add(pair[0], ran.append, number)
        pair[1].send(b"x")
        while not ran:
            await asyncio.sleep(0)
        assert set(ran) == {2}
        assert remove(pair[0]) is True and remove(pair[0]) is False
        ran.clear()
        await asyncio.sleep(0.005)
        assert ran == []

    run(main)


def test_both_ends_watched(run, loop, pair):
    async def main():
        received = loop.create_future()

        def read():
            loop.remove_reader(pair[0])
            received.set_result(pair[0].recv(100))

        def write():
            loop.remove_writer(pair[1])
            pair[1].send(b"abc")

        loop.add_reader(pair[0], read)
        loop.add_writer(pair[1], write)
        assert await received == b"abc"

    run(main)


def test_a_handler_that_removes_the_other(run, loop, pair):
    """What was ready in the same turn, and is removed, does not run."""
    ran = []

    def once(name):
        ran.append(name)
        loop.remove_reader(pair[0])
        loop.remove_reader(pair[1])

    async def main():
        for end in pair:
            end.send(b"x")
        loop.add_reader(pair[0], once, 0)
        loop.add_reader(pair[1], once, 1)
        await asyncio.sleep(0.01)
        assert len(ran) == 1

    run(main)


@pytest.mark.parametrize("early", [False, True])
def test_cancelled_receive_loses_nothing(run, loop, pair, early):
    """Data that comes around the cancellation goes to the next receive."""

    async def main():
        for _ in range(20):
            receiving = asyncio.create_task(loop.sock_recv(pair[0], 1))
            await asyncio.sleep(0)
            if early:
                await loop.sock_sendall(pair[1], b"1")
            receiving.cancel()
            again = asyncio.create_task(loop.sock_recv(pair[0], 1))
            if not early:
                await asyncio.sleep(0)
                await loop.sock_sendall(pair[1], b"1")
            assert await again == b"1"
            with pytest.raises(asyncio.CancelledError):
                await receiving

    run(main)


def test_cancelled_then_closed(run, loop, pair):
    async def main():
        receiving = asyncio.create_task(loop.sock_recv(pair[0], 1))
        await asyncio.sleep(0.001)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        pair[0].close()
        assert pair[0].fileno() == -1
        await asyncio.sleep(0.001)

    run(main)


def test_cancelled_send(run, loop, pair):
    async def main():
        sending = asyncio.create_task(loop.sock_sendall(pair[0], b"x" * (64 * SIZE)))
        await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        pair[0].close()
        received = 0
        while data := await loop.sock_recv(pair[1], 1 << 16):
            received += len(data)
        assert 0 < received < 64 * SIZE

    run(main)


@pytest.mark.parametrize("call", ["recv", "recv_into", "recvfrom", "accept"])
def test_cancelled_at_each_point(run, loop, pair, call):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            for turns in range(4):
                started = {
                    "recv": lambda: loop.sock_recv(pair[0], 1),
                    "recv_into": lambda: loop.sock_recv_into(pair[0], bytearray(1)),
                    "recvfrom": lambda: loop.sock_recvfrom(pair[0], 1),
                    "accept": lambda: loop.sock_accept(listener),
                }[call]()
                task = asyncio.create_task(started)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        # and the loop watches none of them any more
        assert loop.remove_reader(pair[0]) is False

    run(main)
