"""Exceptions of callbacks: who is told, and what becomes of the loop."""

import asyncio
import logging

import pytest


def divide():
    return 1 / 0


def run_one(loop, method):
    delay = (0.001,) if method == "call_later" else ()
    getattr(loop, method)(*delay, divide)
    loop.run_until_complete(asyncio.sleep(0.02))


METHODS = pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later"])


@METHODS
def test_default_handler_logs(loop, method, caplog):
    run_one(loop, method)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asyncio", logging.ERROR)
    assert record.getMessage().startswith("Exception in callback divide(")
    assert record.exc_info[0] is ZeroDivisionError


@METHODS
@pytest.mark.parametrize("debug", [False, True])
def test_handler_is_told(loop, method, debug):
    told = []

    def handler(*arguments):
        told.append(arguments)

    loop.set_debug(debug)
    assert loop.get_exception_handler() is None
    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    run_one(loop, method)
    ((where, context),) = told
    assert where is loop and isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback divide(")
    assert ("source_traceback" in context) is debug
    if debug:
        assert context["source_traceback"][-1].name == "run_one"
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_handler_must_be_callable(loop):
    with pytest.raises(TypeError, match="callable"):
        loop.set_exception_handler("x")


def test_broken_handler_is_logged(loop, caplog):
    def handler(loop, context):
        raise AttributeError("spam")

    loop.set_exception_handler(handler)
    run_one(loop, "call_soon")
    (record,) = caplog.records
    assert record.getMessage().startswith("Unhandled error in exception handler")
    assert record.exc_info[0] is AttributeError


def test_broken_default_handler_is_logged(factory, caplog):
    base = type(factory())
    contexts = []

    class Loop(base):
        def default_exception_handler(self, context):
            contexts.append(context)
            raise ValueError("spam")

    loop = Loop()
    try:
        run_one(loop, "call_soon")
        assert caplog.records[-1].getMessage() == "Exception in default exception handler"

        def handler(loop, context):
            raise ValueError("ham")

        loop.set_exception_handler(handler)
        run_one(loop, "call_soon")
        message = caplog.records[-1].getMessage()
        assert "Exception in default exception handler" in message and "custom" in message
        # the default handler was given what the custom one had been given
        assert isinstance(contexts[-1]["context"]["exception"], ZeroDivisionError)
        assert isinstance(contexts[-1]["exception"], ValueError)
    finally:
        loop.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("method", ["call_soon", "call_later"])
def test_these_end_the_run(loop, error, method, caplog):
    def stop():
        raise error

    delay = (0.001,) if method == "call_later" else ()
    getattr(loop, method)(*delay, stop)
    with pytest.raises(error):
        loop.run_forever()
    assert not loop.is_closed() and not loop.is_running() and not caplog.records
    assert loop.run_until_complete(asyncio.sleep(0, "goes on")) == "goes on"


def test_other_base_exceptions_do_not(loop, caplog):
    class Unusual(BaseException):
        pass

    def raise_it():
        raise Unusual

    loop.call_soon(raise_it)
    loop.run_until_complete(asyncio.sleep(0))
    assert caplog.records[0].exc_info[0] is Unusual


def test_a_lost_task_is_reported(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def fail():
        raise LookupError

    loop.create_task(fail())
    loop.run_until_complete(asyncio.sleep(0.01))
    (context,) = contexts
    assert "never retrieved" in context["message"] and isinstance(context["exception"], LookupError)
