"""Errors of native code as exceptions, and exceptions as log records."""

import errno
import logging
import socket
import sys

import pytest
import treadle


def test_numbers_become_the_exceptions_of_the_system():
    loop = treadle.new_event_loop()
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        theirs.close()
        with pytest.raises(BrokenPipeError) as info:
            loop._sock_try_sendall(ours, b"x", 0)
        assert info.value.errno == errno.EPIPE and info.value.strerror == "Broken pipe"
        with pytest.raises(OSError) as info:
            loop._add_reader(1 << 20, print)
        assert info.value.errno == errno.EBADF
    finally:
        ours.close()
        loop.close()


def break_callback(future):
    raise ValueError("from the callback")


def test_errors_of_callbacks_are_logged(impl, caplog):
    future = impl.Future()
    future.add_done_callback(break_callback)
    future.set_result(1)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("concurrent.futures", logging.ERROR)
    assert record.getMessage() == f"exception calling callback for {future!r}"
    kind, error, traceback = record.exc_info
    assert kind is ValueError and error.args == ("from the callback",)
    assert traceback is not None


def test_a_logger_that_fails_is_reported_itself(native, monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_value))

    def handle(record):
        raise KeyError("logging is broken")

    monkeypatch.setattr(logging.getLogger("concurrent.futures"), "handle", handle)
    future = native.Future()
    future.add_done_callback(break_callback)
    future.add_done_callback(lambda f: reported.append("the next one"))
    future.set_result(1)
    assert [str(each) for each in reported] == ["'logging is broken'", "the next one"]


class Picky(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


def test_raising_again(impl):
    future, error = impl.Future(), Picky(1, 2)
    future.set_exception(error)
    for _ in range(2):
        try:
            raise KeyError("being handled")
        except KeyError as handled:
            with pytest.raises(Picky) as info:
                future.result()
            assert info.value is error and error.__context__ is handled
