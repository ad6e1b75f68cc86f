"""Callees: what gather() puts among the callbacks of futures, called as any callable."""

import asyncio

import pytest
import treadle


def callee_of(future):
    (callback, context), *others = future._callbacks
    assert others == []
    return callback, context


def test_it_is_called_with_the_future(loop):
    future = loop.create_future()
    gathered = treadle.gather(future)
    callback, context = callee_of(future)
    assert callback.__name__ == "_done_callback" and callback.__qualname__ == "gather.<locals>._done_callback"
    assert callback() is None and not gathered.done()
    with pytest.raises(TypeError, match=r"_done_callback\(\) takes the future that is done"):
        callback(future, future)
    with pytest.raises(TypeError):
        callback(future=future)
    future.set_result(1)
    context.run(callback, future)
    assert gathered.done() and gathered.result() == [1]
    loop.run_until_complete(asyncio.sleep(0))
    assert gathered.result() == [1]


def test_one_cannot_be_made(loop):
    future = loop.create_future()
    treadle.gather(future)
    with pytest.raises(TypeError):
        type(callee_of(future)[0])()
    future.cancel()
    loop.run_until_complete(asyncio.sleep(0))


def test_a_call_with_what_is_no_future(loop, complaints):
    future = loop.create_future()
    gathered = treadle.gather(future)
    callback, context = callee_of(future)
    with pytest.raises(AttributeError):
        callback(object())
    loop.call_soon(callback, object(), context=context)
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert [type(each["exception"]) for each in complaints] == [AttributeError]
    assert not gathered.done()


def test_in_the_ready_queue_it_is_a_handle(loop):
    future = loop.create_future()
    gathered = treadle.gather(future)
    callback, _ = callee_of(future)
    future.set_result(1)
    handles = [handle for handle in loop._ready if handle._callback is callback]
    assert len(handles) == 1 and handles[0]._args == (future,)
    assert loop.run_until_complete(gathered) == [1]
