"""Pipes for tests of the loop."""

import asyncio
import os

import pytest


class Recorder(asyncio.Protocol):
    """Writes down what happens; `lost` is done at the end."""

    def __init__(self):
        self.calls = []
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data

    def eof_received(self):
        self.calls.append("eof")

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append(("lost", type(exc)))
        if not self.lost.done():
            self.lost.set_result(exc)


LOST = ("lost", type(None))


def open_pipe():
    reader, writer = os.pipe()
    return open(reader, "rb", 0), open(writer, "wb", 0)


async def turns(n=3):
    for _ in range(n):
        await asyncio.sleep(0)


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def connected_reader(protocol=Recorder):
    reader, writer = open_pipe()
    transport, protocol = await asyncio.get_running_loop().connect_read_pipe(protocol, reader)
    return transport, protocol, writer


async def connected_writer(protocol=Recorder):
    reader, writer = open_pipe()
    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(protocol, writer)
    return transport, protocol, reader


@pytest.fixture
def run(loop):
    loop.set_exception_handler(lambda loop, context: loop.contexts.append(context))
    loop.contexts = []

    def run(main):
        return loop.run_until_complete(asyncio.wait_for(main, 60))

    yield run
    assert loop.contexts == []


def fill(transport):
    while transport.get_write_buffer_size() == 0:
        transport.write(b"x" * 65536)
