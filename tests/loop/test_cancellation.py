"""An operation that is cancelled at any of its await points: every descriptor is closed, once, and the loop works on.

Each operation is run again and again, cancelled at its first, second, third... suspension until it is through before that;
both while it waits, and when what it waited for has come but the task has not run yet.
"""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import tempfile

import pytest
import treadle
from support.sockets import new_pair, run, tcp_pair
from support.stepping import cancel_at, descriptors, settled

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
MORE_STEPS_THAN_ANY = 200
SIZE = 1 << 20


def tls(side):
    """A context that needs no certificate."""
    context = ssl.SSLContext(side)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


SERVER = tls(ssl.PROTOCOL_TLS_SERVER)
CLIENT = tls(ssl.PROTOCOL_TLS_CLIENT)


class Plain(asyncio.Protocol):
    """Knows its transport."""

    def connection_made(self, transport):
        self.transport = transport


class Scene:
    """What an operation needs around it; closed after each round."""

    def __init__(self, loop, stack):
        self.loop = loop
        self.stack = stack
        self.protocols = []

    def protocol(self):
        self.protocols.append(Plain())
        return self.protocols[-1]

    def pair(self):
        ends = new_pair("TCP")
        for end in ends:
            self.stack.callback(end.close)
        return ends

    def narrow_pair(self):
        """Sockets that do not hold all that is to be sent."""
        ours, theirs = self.pair()
        for end, option in (ours, socket.SO_SNDBUF), (theirs, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, SIZE // 8)
        return ours, theirs

    def listener(self):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.stack.callback(listener.close)
        return listener

    async def server(self, **options):
        server = await self.loop.create_server(self.protocol, "127.0.0.1", 0, **options)
        self.stack.callback(server.close)
        return server.sockets[0].getsockname()

    async def transport(self):
        """A transport, and the socket at the other end."""
        ours, theirs = self.pair()
        transport, _ = await self.loop.create_connection(self.protocol, sock=ours)
        return transport, theirs

    def file(self, size=SIZE):
        file = tempfile.TemporaryFile()
        self.stack.callback(file.close)
        file.write(bytes(size))
        file.seek(0)
        return file

    def drain(self, sock):
        """Read all that comes from `sock`."""

        async def read():
            while await self.loop.sock_recv(sock, 1 << 18):
                pass

        task = asyncio.ensure_future(read())
        self.stack.callback(task.cancel)

    def leave(self):
        for protocol in self.protocols:
            transport = getattr(protocol, "transport", None)
            if transport is not None and not transport.is_closing():
                getattr(transport, "abort", transport.close)()
        self.stack.close()


async def nothing(result):
    """The scene knows what there is to close."""


async def close_server(server):
    server.close()


async def close_first(result):
    result[0].close()


async def end_process(result):
    transport, _ = result
    transport.close()
    await transport._wait()


async def create_connection(scene):
    host, port = await scene.server()
    return lambda: scene.loop.create_connection(scene.protocol, host, port)


async def create_connection_by_name(scene):
    _, port = await scene.server()
    return lambda: scene.loop.create_connection(
        scene.protocol, "localhost", port, family=socket.AF_INET, happy_eyeballs_delay=0.1
    )


async def create_connection_from_here(scene):
    _, port = await scene.server()
    return lambda: scene.loop.create_connection(
        scene.protocol, "localhost", port, family=socket.AF_INET, local_addr=("localhost", 0)
    )


async def create_connection_tls(scene):
    host, port = await scene.server(ssl=SERVER)
    return lambda: scene.loop.create_connection(scene.protocol, host, port, ssl=CLIENT)


def given_away(scene, operation):
    """operation(sock), which from its start has to close the socket itself; and the socket at the other end."""
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    unused = scene.stack.enter_context(contextlib.ExitStack())
    unused.callback(ours.close)

    async def take():
        unused.pop_all()
        return await operation(ours)

    return take, theirs


async def create_connection_of_a_socket(scene):
    take, theirs = given_away(scene, lambda sock: scene.loop.create_connection(scene.protocol, sock=sock))
    scene.stack.callback(theirs.close)
    return take


async def connect_accepted_socket_tls(scene):
    take, theirs = given_away(
        scene, lambda sock: scene.loop.connect_accepted_socket(scene.protocol, sock, ssl=SERVER)
    )
    transport, protocol = await scene.loop.create_connection(scene.protocol, sock=theirs)
    other = asyncio.ensure_future(scene.loop.start_tls(transport, protocol, CLIENT, server_hostname="x"))
    other.add_done_callback(lambda task: task.cancelled() or task.exception())
    scene.stack.callback(other.cancel)
    return take


async def create_unix_connection(scene):
    name = f"\0treadle-cancel-{os.getpid()}"
    server = await scene.loop.create_unix_server(scene.protocol, name)
    scene.stack.callback(server.close)
    return lambda: scene.loop.create_unix_connection(scene.protocol, name)


async def create_server(scene):
    return lambda: scene.loop.create_server(scene.protocol, ["127.0.0.1", "localhost"], 0, family=socket.AF_INET)


async def create_unix_server(scene):
    return lambda: scene.loop.create_unix_server(scene.protocol, f"\0treadle-cancelled-{os.getpid()}")


async def create_datagram_endpoint(scene):
    class Datagrams(Plain, asyncio.DatagramProtocol):
        pass

    def protocol():
        scene.protocols.append(Datagrams())
        return scene.protocols[-1]

    return lambda: scene.loop.create_datagram_endpoint(
        protocol, local_addr=("127.0.0.1", 0), remote_addr=("127.0.0.1", 9)
    )


async def sock_connect(scene):
    address = scene.listener().getsockname()
    ours = socket.socket()
    ours.setblocking(False)
    scene.stack.callback(ours.close)
    return lambda: scene.loop.sock_connect(ours, address)


async def sock_connect_by_name(scene):
    port = scene.listener().getsockname()[1]
    ours = socket.socket()
    ours.setblocking(False)
    scene.stack.callback(ours.close)
    return lambda: scene.loop.sock_connect(ours, ("localhost", port))


async def sock_accept(scene):
    listener = scene.listener()
    client = socket.socket()
    client.setblocking(False)
    scene.stack.callback(client.close)
    scene.loop.call_later(0.002, client.connect_ex, listener.getsockname())
    return lambda: scene.loop.sock_accept(listener)


async def sock_recv(scene):
    ours, theirs = scene.pair()
    scene.loop.call_later(0.002, lambda: theirs.fileno() >= 0 and theirs.send(b"x"))
    return lambda: scene.loop.sock_recv(ours, 10)


async def sock_recv_into(scene):
    ours, theirs = scene.pair()
    scene.loop.call_later(0.002, lambda: theirs.fileno() >= 0 and theirs.send(b"x"))
    return lambda: scene.loop.sock_recv_into(ours, bytearray(10))


async def sock_sendall(scene):
    ours, theirs = scene.narrow_pair()
    scene.drain(theirs)
    return lambda: scene.loop.sock_sendall(ours, bytes(SIZE))


async def sock_sendfile(scene):
    ours, theirs = scene.narrow_pair()
    scene.drain(theirs)
    file = scene.file()
    return lambda: scene.loop.sock_sendfile(ours, file)


async def sendfile(scene):
    transport, theirs = await scene.transport()
    scene.drain(theirs)
    file = scene.file()
    return lambda: scene.loop.sendfile(transport, file)


async def sendfile_by_reading(scene):
    transport, theirs = await scene.transport()
    scene.drain(theirs)
    file = scene.file(SIZE // 4)
    return lambda: scene.loop._sendfile_fallback(transport, file, 0, None)


async def start_tls(scene):
    host, port = await scene.server()
    transport, protocol = await scene.loop.create_connection(scene.protocol, host, port)
    while len(scene.protocols) < 2 or not hasattr(scene.protocols[1], "transport"):
        await asyncio.sleep(0)
    theirs = next(p for p in scene.protocols if p is not protocol)
    other = asyncio.ensure_future(scene.loop.start_tls(theirs.transport, theirs, SERVER, server_side=True))
    other.add_done_callback(lambda task: task.cancelled() or task.exception())
    scene.stack.callback(other.cancel)
    return lambda: scene.loop.start_tls(transport, protocol, CLIENT, server_hostname="x")


async def subprocess_exec(scene):
    return lambda: scene.loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/cat")


async def subprocess_shell(scene):
    return lambda: scene.loop.subprocess_shell(asyncio.SubprocessProtocol, "exec cat")


async def communicate(scene):
    async def talk():
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
        try:
            return await process.communicate(b"x" * 100)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return talk


async def connect_read_pipe(scene):
    ours, theirs = os.pipe()
    scene.stack.callback(os.close, theirs)
    file = open(ours, "rb", 0)
    scene.stack.callback(file.close)
    return lambda: scene.loop.connect_read_pipe(scene.protocol, file)


async def connect_write_pipe(scene):
    theirs, ours = os.pipe()
    scene.stack.callback(os.close, theirs)
    file = open(ours, "wb", 0)
    scene.stack.callback(file.close)
    return lambda: scene.loop.connect_write_pipe(scene.protocol, file)


async def getaddrinfo(scene):
    return lambda: scene.loop.getaddrinfo("localhost", "http")


async def run_in_executor(scene):
    async def job():
        return await scene.loop.run_in_executor(None, os.getpid)

    return job


OPERATIONS = {
    create_connection: nothing,
    create_connection_by_name: nothing,
    create_connection_from_here: nothing,
    create_connection_tls: nothing,
    create_connection_of_a_socket: nothing,
    connect_accepted_socket_tls: nothing,
    create_unix_connection: nothing,
    create_server: close_server,
    create_unix_server: close_server,
    create_datagram_endpoint: nothing,
    sock_connect: nothing,
    sock_connect_by_name: nothing,
    sock_accept: close_first,
    sock_recv: nothing,
    sock_recv_into: nothing,
    sock_sendall: nothing,
    sock_sendfile: nothing,
    sendfile: nothing,
    sendfile_by_reading: nothing,
    start_tls: nothing,
    subprocess_exec: end_process,
    subprocess_shell: end_process,
    communicate: nothing,
    connect_read_pipe: nothing,
    connect_write_pipe: nothing,
    getaddrinfo: nothing,
    run_in_executor: nothing,
}


ONLY_TREADLE_CLOSES = {create_server, create_unix_server}


async def works(loop):
    """The loop still does what loops do."""
    ours, theirs = new_pair("UNIX")
    with ours, theirs:
        reader = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(theirs, b"works")
        assert await reader == b"works"


async def one_round(loop, operation, dispose, at, late):
    """Whether the operation was cancelled: it had that many steps."""
    with contextlib.ExitStack() as stack:
        scene = Scene(loop, stack)
        make = await operation(scene)
        try:
            return await cancel_at(make, dispose, at, late)
        finally:
            scene.leave()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("late", [False, True], ids=["waiting", "done"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_cancelled_at_each_step(loop, operation, late):
    if operation in ONLY_TREADLE_CLOSES and not isinstance(loop, treadle.EventLoop):
        pytest.skip("asyncio's own loop leaves such a server listening, with nobody to close it")
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    dispose = OPERATIONS[operation]

    async def all_rounds():
        await loop.getaddrinfo("localhost", 1)  # the resolver's threads, and what they keep open
        await one_round(loop, operation, dispose, MORE_STEPS_THAN_ANY, late)  # modules, watchers, children's reapers
        await works(loop)
        before = descriptors()
        for at in range(MORE_STEPS_THAN_ANY):
            cancelled = await one_round(loop, operation, dispose, at, late)
            await works(loop)
            assert not await settled(before, 0.2) or gc.collect() and not await settled(before), at
            if not cancelled:
                return at
        raise AssertionError("it never comes to an end")

    steps = run(loop, all_rounds())
    assert steps >= 1
    assert [c for c in complaints if not isinstance(c.get("exception"), OSError)] == []
