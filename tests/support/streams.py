"""Transports with a plain socket at the other end, for the tests of stream transports."""

import asyncio
import contextlib
import socket


class Recorder(asyncio.Protocol):
    """Writes down what it is told; `act` maps names of callbacks to what else to do."""

    def __init__(self, **act):
        self.events = []
        self.act = act
        self.transport = None

    def _tell(self, name, *args):
        self.events.append((name, *args))
        action = self.act.get(name)
        return action(self, *args) if action is not None else None

    def connection_made(self, transport):
        self.transport = transport
        self._tell("made")

    def data_received(self, data):
        return self._tell("data", data)

    def eof_received(self):
        return self._tell("eof")

    def pause_writing(self):
        return self._tell("pause")

    def resume_writing(self):
        return self._tell("resume")

    def connection_lost(self, exc):
        return self._tell("lost", exc)

    @property
    def names(self):
        return [event[0] for event in self.events]

    @property
    def received(self):
        return b"".join(event[1] for event in self.events if event[0] == "data")


class BufferedRecorder(asyncio.BufferedProtocol):
    """The same for a BufferedProtocol whose buffer has `size` bytes."""

    def __init__(self, size=1000, **act):
        self.buffer = bytearray(size)
        self.events = []
        self.act = act
        self.transport = None

    _tell = Recorder._tell
    connection_made = Recorder.connection_made
    eof_received = Recorder.eof_received
    connection_lost = Recorder.connection_lost
    names = Recorder.names
    received = Recorder.received

    def get_buffer(self, sizehint):
        own = self._tell("get", sizehint)
        return self.buffer if own is None else own

    def buffer_updated(self, nbytes):
        return self._tell("data", bytes(self.buffer[:nbytes]))


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


def settle(loop, turns=5):
    """Let the loop turn a few times."""

    async def turn():
        for _ in range(turns):
            await asyncio.sleep(0)

    loop.run_until_complete(turn())


def run_until(loop, condition, limit=10.0):
    """Run the loop until condition() holds; fail if it never does."""

    async def wait():
        while not condition():
            await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(wait(), limit))


class Link:
    """A transport on `loop` and the socket at the other end."""

    def __init__(self, loop, protocol=None, make_pair=socket.socketpair):
        self.loop = loop
        self.sock, self.peer = make_pair()
        self.peer.settimeout(10)
        self.protocol = Recorder() if protocol is None else protocol
        self.errors = []
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.transport, _ = loop.run_until_complete(
            loop.create_connection(lambda: self.protocol, sock=self.sock)
        )

    def run_until(self, condition):
        run_until(self.loop, condition)

    def run_until_event(self, name):
        self.run_until(lambda: name in self.protocol.names)

    def fill(self):
        """Write until bytes stay in the transport's queue; return how many were written."""
        chunk = b"x" * 65536
        written = 0
        while not self.transport.get_write_buffer_size():
            self.transport.write(chunk)
            written += len(chunk)
        return written

    def drain(self, total):
        """Receive `total` bytes at the other end while the loop runs."""
        self.peer.setblocking(False)
        got = bytearray()

        def more():
            with contextlib.suppress(BlockingIOError):
                while part := self.peer.recv(1 << 20):
                    got.extend(part)
            return len(got) >= total

        self.run_until(more)
        self.peer.settimeout(10)
        return bytes(got)

    def close(self):
        self.peer.close()
        if not self.loop.is_closed():
            self.transport.abort()
            settle(self.loop)
