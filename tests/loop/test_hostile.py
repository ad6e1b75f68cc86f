"""Protocols that raise, close, abort or stop the loop in whatever callback; peers that break off or never read; signals."""

import asyncio
import logging
import signal
import socket
import struct

import pytest
import treadle
from support.sockets import new_pair, run
from support.streams import Recorder, run_until, settle

CALLBACKS = ["made", "data", "eof", "pause", "resume", "lost"]
BIG = bytes(4 << 20)


class Errand:
    """A transport on the loop whose protocol is led through every callback by a peer."""

    def __init__(self, loop, act, kind):
        self.loop = loop
        self.errors = []
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.ours, self.peer = new_pair(kind)
        self.protocol = Recorder(**act)

    def start(self):
        coroutine = self.loop.create_connection(lambda: self.protocol, sock=self.ours)
        self.opening = self.loop.create_task(coroutine)

    async def lead(self):
        """Data, more to write than fits, reading it all, end of file."""
        loop, transport = self.loop, self.protocol.transport
        self.try_send(b"x")
        await asyncio.sleep(0.002)
        try:
            transport.write(BIG)
        except RuntimeError:  # after write_eof()
            transport.close()
        await asyncio.sleep(0.002)
        await self.read_all(0 if transport.is_closing() else len(BIG))
        await asyncio.sleep(0.002)
        if self.peer.fileno() >= 0:
            self.peer.close()
        while "lost" not in self.protocol.names:
            await asyncio.sleep(0.001)
            transport.close()

    def try_send(self, data):
        try:
            self.peer.send(data)
        except OSError:
            pass  # the other end has been aborted

    async def read_all(self, left):
        try:
            while left > 0 and (data := await asyncio.wait_for(self.loop.sock_recv(self.peer, 1 << 20), 0.2)):
                left -= len(data)
        except (OSError, TimeoutError):
            pass

    def finish(self):
        """Go on until the connection is lost, however often the loop is stopped or an exception comes out of it."""
        raised = []
        self.start()
        run_on(self.loop, self.opening, raised)
        leading = self.loop.create_task(self.lead()) if self.protocol.transport else None
        if leading:
            run_on(self.loop, leading, raised)
            leading.result()
        self.peer.close()
        return raised


def run_on(loop, task, raised):
    task.add_done_callback(lambda _: loop.stop())
    while not task.done():
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit) as error:
            raised.append(error)
        assert len(raised) < 20


def once(action):
    """An action of a protocol that is done the first time only."""
    done = []

    def act(protocol, *args):
        if not done:
            done.append(True)
            return action(protocol)

    return act


def check(errand, again=0):
    """Whatever happened, the callbacks came in the right order, and the loop works.

    The end of file may be told `again` if eof_received() was broken off."""
    names = errand.protocol.names
    assert names[0] == "made"
    assert names[-1] == "lost"
    assert names.count("made") == names.count("lost") == 1
    assert names.count("eof") <= 1 + again
    assert names.count("resume") <= names.count("pause") <= names.count("resume") + 1
    settle(errand.loop)
    assert errand.ours.fileno() == -1 or errand.protocol.transport.is_closing()
    assert errand.loop.run_until_complete(asyncio.sleep(0, "works")) == "works"


def raises(error):
    def act(protocol):
        raise error

    return act


@pytest.mark.parametrize("kind", ["UNIX", "TCP"])
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_raises(loop, name, kind):
    errand = Errand(loop, {name: once(raises(ValueError(name)))}, kind)
    assert errand.finish() == []
    check(errand)
    assert [context["exception"].args for context in errand.errors if isinstance(context["exception"], ValueError)] == [
        (name,)
    ]


def test_every_callback_raises(loop):
    errand = Errand(loop, {name: lambda *args: 1 / 0 for name in CALLBACKS}, "TCP")
    assert errand.finish() == []
    check(errand)
    assert len(errand.errors) >= 3
    assert all(isinstance(context["exception"], ZeroDivisionError) for context in errand.errors)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_wants_to_end_the_program(loop, name, error):
    """It comes out of run_forever(), and the loop can be run again.

    Where a write found the protocol to be paused it comes out of write() first, in the task that wrote."""
    mine = error(name)
    errand = Errand(loop, {name: once(raises(mine))}, "TCP")
    try:
        raised = errand.finish()
    except error as caught:
        raised = [caught]
        errand.protocol.transport.abort()
        loop.run_forever()  # until the stop() that came of it
        run_until(loop, lambda: "lost" in errand.protocol.names)
        errand.peer.close()
    assert raised and all(one is mine for one in raised)
    check(errand, again=1)


ACTIONS = {
    "close": lambda protocol: protocol.transport.close(),
    "abort": lambda protocol: protocol.transport.abort(),
    "abort twice": lambda protocol: (protocol.transport.abort(), protocol.transport.close()),
    "write": lambda protocol: protocol.transport.write(b"more"),
    "write much": lambda protocol: protocol.transport.write(BIG),
    "write and close": lambda protocol: (protocol.transport.write(BIG), protocol.transport.close()),
    "pause": lambda protocol: (protocol.transport.pause_reading(), protocol.transport.resume_reading()),
    "stop": lambda protocol: asyncio.get_running_loop().stop(),
    "end": lambda protocol: protocol.transport.can_write_eof() and protocol.transport.write_eof(),
    "change": lambda protocol: protocol.transport.set_protocol(protocol),
    "limits": lambda protocol: protocol.transport.set_write_buffer_limits(high=1, low=0),
    "no limits": lambda protocol: protocol.transport.set_write_buffer_limits(high=1 << 30),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_acts_on_its_transport(loop, name, action):
    errand = Errand(loop, {name: once(ACTIONS[action])}, "TCP")
    assert errand.finish() == []
    check(errand)
    if isinstance(loop, treadle.EventLoop):  # before 3.14 asyncio's own loses a connection twice that is closed on resuming
        assert [c for c in errand.errors if not isinstance(c.get("exception"), (OSError, RuntimeError))] == []


def test_a_peer_that_never_reads(loop):
    """A writer that heeds pause_writing() holds no more than one write above the limit."""
    ours, peer = new_pair("TCP")
    protocol = Recorder()
    transport, _ = run(loop, loop.create_connection(lambda: protocol, sock=ours))
    transport.set_write_buffer_limits(high=100_000, low=1000)
    written = 0
    while "pause" not in protocol.names:
        transport.write(bytes(10_000))
        written += 10_000
        settle(loop, 1)
    assert 100_000 < transport.get_write_buffer_size() <= 110_000
    for _ in range(3):  # one that does not heed it is told once only
        transport.write(b"x" * 1000)
        written += 1000
    settle(loop, 20)
    assert protocol.names.count("pause") == 1
    assert "resume" not in protocol.names

    async def read():
        left = written
        while left:
            left -= len(await loop.sock_recv(peer, 1 << 20))

    run(loop, read())
    run_until(loop, lambda: "resume" in protocol.names)
    assert protocol.names.count("resume") == 1
    transport.abort()
    peer.close()
    settle(loop)


def test_a_peer_that_resets(loop):
    ours, peer = new_pair("TCP")
    protocol = Recorder()
    transport, _ = run(loop, loop.create_connection(lambda: protocol, sock=ours))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    run_until(loop, lambda: "lost" in protocol.names)
    assert protocol.events[-1][0] == "lost"
    assert isinstance(protocol.events[-1][1], ConnectionResetError)
    assert "eof" not in protocol.names


def test_a_peer_that_has_shut_down_its_side(loop):
    """After its end of file it still gets all, if eof_received() says to stay open."""
    ours, peer = new_pair("TCP")
    protocol = Recorder(eof=lambda protocol: True)
    transport, _ = run(loop, loop.create_connection(lambda: protocol, sock=ours))
    peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: "eof" in protocol.names)
    transport.write(BIG)
    transport.close()

    async def read():
        n = 0
        while data := await loop.sock_recv(peer, 1 << 20):
            n += len(data)
        return n

    assert run(loop, read()) == len(BIG)
    run_until(loop, lambda: "lost" in protocol.names)
    assert protocol.events[-1] == ("lost", None)
    peer.close()


def test_writes_after_the_connection_is_lost(loop, caplog):
    ours, peer = new_pair("TCP")
    protocol = Recorder()
    transport, _ = run(loop, loop.create_connection(lambda: protocol, sock=ours))
    transport.abort()
    counts = []
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(8):
            transport.write(b"x")
            counts.append(len(caplog.records))
    settle(loop)
    assert counts == [0, 0, 0, 0, 1, 2, 3, 4]  # abort() counts as one
    assert {record.getMessage() for record in caplog.records} == {"socket.send() raised exception."}
    peer.close()


def test_a_storm_of_signals(loop):
    """Interrupted system calls lose nothing."""
    received, caught = bytearray(), 0

    def count(*args):
        nonlocal caught
        caught += 1

    async def both():
        ours, peer = new_pair("TCP")
        with peer:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            data = bytes(range(256)) * 4096
            while caught < 100 or len(received) < 3 * len(data):
                transport.write(data)
                want = len(received) + len(data)
                while len(received) < want:
                    received.extend(await loop.sock_recv(peer, 1 << 16))
                await asyncio.sleep(0.001)
                assert received[-len(data) :] == data
                await loop.run_in_executor(None, sum, range(100))
            transport.close()

    before = signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        run(loop, both())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught >= 100
