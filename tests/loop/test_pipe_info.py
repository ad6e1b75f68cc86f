"""What a pipe transport says of itself, and to whom."""

import contextvars
import gc
import logging

import pytest
import treadle
from support.pipes import LOST, Recorder, connected_reader, connected_writer, fill, run, until


def test_extra_info(run):
    async def main():
        for connect in (connected_reader, connected_writer):
            transport, protocol, other = await connect()
            pipe = transport.get_extra_info("pipe")
            assert pipe.fileno() >= 0 and pipe is not other
            assert transport.get_extra_info("peername") is None
            assert transport.get_extra_info("peername", "x") == "x"
            transport.close()
            await protocol.lost
            assert pipe.closed
            assert transport.get_extra_info("pipe") is pipe
            other.close()

    run(main())


def test_repr(run):
    async def main():
        transport, protocol, writer = await connected_reader()
        name, fd = type(transport).__name__, transport.get_extra_info("pipe").fileno()
        assert repr(transport) == f"<{name} fd={fd} polling>"
        transport.pause_reading()
        assert repr(transport) == f"<{name} fd={fd} idle>"
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} idle>"
        await protocol.lost
        assert repr(transport) == f"<{name} closed fd={fd} closed>"
        writer.close()

        transport, protocol, reader = await connected_writer()
        name, fd = type(transport).__name__, transport.get_extra_info("pipe").fileno()
        assert repr(transport) == f"<{name} fd={fd} idle bufsize=0>"
        fill(transport)
        size = transport.get_write_buffer_size()
        assert repr(transport) == f"<{name} fd={fd} polling bufsize={size}>"
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} polling bufsize={size}>"
        transport.abort()
        await protocol.lost
        assert repr(transport) == f"<{name} closed fd={fd} closed>"
        reader.close()

    run(main())


def test_repr_when_the_loop_is_closed(factory):
    loop = factory()
    transport, protocol, writer = loop.run_until_complete(connected_reader())
    fd = transport.get_extra_info("pipe").fileno()
    loop.close()
    assert repr(transport) == f"<{type(transport).__name__} fd={fd} open>"
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport, protocol
        gc.collect()
    writer.close()


def test_debug_mode(loop, caplog):
    async def main():
        transport, protocol, writer = await connected_reader()
        transport.pause_reading()
        transport.resume_reading()
        writer.close()
        await protocol.lost
        transport, protocol, reader = await connected_writer()
        reader.close()
        await protocol.lost
        transport, protocol, reader = await connected_writer()
        transport.get_extra_info("pipe")
        reader.close()
        transport.write(b"x")
        await protocol.lost

    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        loop.run_until_complete(main())
    for text in ("pauses reading", "resumes reading", "Fatal write error on pipe transport"):
        assert caplog.text.count(text) == 1
    assert caplog.text.count("was closed by peer") == 2


def test_callbacks_run_in_the_context_of_the_connection(run):
    variable = contextvars.ContextVar("variable", default="unset")

    class Looking(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.calls.append(variable.get())

        def data_received(self, data):
            self.calls.append(variable.get())

        def connection_lost(self, exc):
            self.calls.append(variable.get())
            super().connection_lost(exc)

    async def main():
        variable.set("set")
        transport, protocol, writer = await connected_reader(Looking)
        variable.set("changed")
        writer.write(b"x")
        await until(lambda: len(protocol.calls) == 3)
        writer.close()
        await protocol.lost
        assert protocol.calls == ["made", "set", "set", "eof", "set", LOST]

    run(main())


def test_ours_are_native():
    async def main():
        transport, protocol, writer = await connected_reader()
        assert type(transport).__module__ == "treadle"
        writer.close()
        await protocol.lost
        with pytest.raises(TypeError, match="cannot create"):
            type(transport)()

    treadle.run(main())
