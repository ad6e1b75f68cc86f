"""Protocols that write down what happens to them, and blocking peers in threads."""

import asyncio
import contextlib
import socket
import threading


class Recorder(asyncio.Protocol):
    """Notes the calls it gets, in order, and the data."""

    def __init__(self):
        self.calls = []
        self.data = b""
        self.transport = None
        self.error = None
        self.made = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.paused = False

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport
        self.made.set_result(None)

    def data_received(self, data):
        assert self.calls[-1] in ("made", "data")
        if self.calls[-1] == "made":
            self.calls.append("data")
        self.data += data

    def eof_received(self):
        self.calls.append("eof")
        self.ended.set_result(None)

    def pause_writing(self):
        assert not self.paused
        self.paused = True

    def resume_writing(self):
        assert self.paused
        self.paused = False

    def connection_lost(self, error):
        self.calls.append("lost")
        self.error = error
        if not self.lost.done():
            self.lost.set_result(error)


@contextlib.contextmanager
def peer_in_thread(serve, family=socket.AF_INET, address=("127.0.0.1", 0)):
    """Accepts one connection in a thread and hands it to `serve`; yields the address."""
    failures = []

    def work():
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                serve(connection)
        except BaseException as error:
            failures.append(error)

    with socket.create_server(address, family=family) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join()
    if failures:
        raise failures[0]


def receive_all(connection):
    """What comes until the other end closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)
