"""Exceptions of protocols on their way to the loop's exception handler."""

import logging

import pytest
from support.streams import Link, Recorder, settle


def fail(*_):
    raise ValueError("told")


def test_default_handler_logs(loop, caplog):
    link = Link(loop, Recorder(data=fail))
    loop.set_exception_handler(None)
    with caplog.at_level(logging.ERROR, "asyncio"):
        link.peer.send(b"x")
        link.run_until_event("lost")
    text = caplog.text
    assert "Fatal error: protocol.data_received() call failed." in text
    assert "ValueError: told" in text
    assert "transport: <" in text
    assert "protocol: <" in text


def test_handler_that_raises_is_logged(loop, caplog):
    link = Link(loop, Recorder(data=fail))

    def handler(*_):
        raise KeyError("handler")

    loop.set_exception_handler(handler)
    with caplog.at_level(logging.ERROR, "asyncio"):
        link.peer.send(b"x")
        link.run_until_event("lost")
    assert "Unhandled error in exception handler" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_out_of_the_handler(loop, kind):
    link = Link(loop, Recorder(data=fail))

    def handler(*_):
        raise kind

    loop.set_exception_handler(handler)
    link.peer.send(b"x")
    with pytest.raises(kind):
        loop.run_forever()
    loop.set_exception_handler(None)
    link.close()


def test_handler_that_closes_the_transport(loop):
    link = Link(loop, Recorder(data=fail))
    told = []

    def handler(_, context):
        told.append(context)
        context["transport"].abort()

    loop.set_exception_handler(handler)
    link.peer.send(b"x")
    link.run_until_event("lost")
    settle(loop)
    assert len(told) == 1
    assert link.protocol.names.count("lost") == 1
    assert link.protocol.events[-1] == ("lost", None)
