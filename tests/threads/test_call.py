"""Jobs that call a function: arguments, outcomes, and what they keep."""

import concurrent.futures
import itertools
import sys
import weakref

import pytest
from support import dies
from support.tasks import Failure, LONG, echo, fail


def test_submit_passes_all_arguments(impl, make_pool):
    pool = make_pool(1)
    assert pool.submit(echo).result() == ((), {})
    assert pool.submit(echo, 1, self=2, fn=3).result() == ((1,), {"self": 2, "fn": 3})
    assert pool.submit(echo, *range(50), **{f"k{n}": n for n in range(50)}).result() == (
        tuple(range(50)),
        {f"k{n}": n for n in range(50)},
    )
    assert pool.submit(echo, **{"not an identifier": 1, "args": 2, "kwargs": 3}).result()[1]["not an identifier"] == 1


@pytest.mark.parametrize("thing", [42, None, "print"])
def test_something_that_cannot_be_called_fails_when_run(impl, make_pool, thing):
    with pytest.raises(TypeError, match="not callable"):
        make_pool(1).submit(thing).result(LONG)


@pytest.mark.parametrize(
    "function, expected",
    [
        (len, 3),
        ([1, 2, 3].__len__, None),
        (type("C", (), {"__call__": lambda self, x: ("called", x)})(), ("called", (1, 2, 3))),
        (tuple, (1, 2, 3)),
        (lambda x: x[0], 1),
    ],
    ids=["builtin", "slot wrapper", "callable object", "class", "lambda"],
)
def test_kinds_of_callables(impl, make_pool, function, expected):
    pool = make_pool(1)
    if expected is None:
        assert pool.submit(function).result(LONG) == 3
    else:
        assert pool.submit(function, (1, 2, 3)).result(LONG) == expected


def test_exception_of_a_task(impl, make_pool):
    future = make_pool(1).submit(fail, "a", 1)
    error = future.exception(LONG)
    assert type(error) is Failure and error.args == ("a", 1)
    with pytest.raises(Failure):
        future.result()


@pytest.mark.parametrize("fatal", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration])
def test_any_base_exception_of_a_task_goes_to_its_future(impl, make_pool, fatal):
    def body():
        raise fatal("from the task")

    pool = make_pool(1)
    future = pool.submit(body)
    assert type(future.exception(LONG)) is fatal
    with pytest.raises(fatal):
        future.result()
    # The worker goes on, and it is still the same one.
    assert pool.submit(int).result(LONG) == 0 and len(pool._threads) == 1


def test_sys_exit_in_a_task(impl, make_pool):
    pool = make_pool(1)
    assert pool.submit(sys.exit, 3).exception(LONG).code == 3
    assert pool.submit(int).result(LONG) == 0


def test_recursion_error_in_a_task(impl, make_pool):
    def recurse():
        return recurse()

    pool = make_pool(1)
    assert isinstance(pool.submit(recurse).exception(LONG), RecursionError)
    assert pool.submit(int).result(LONG) == 0


def test_traceback_of_a_task_shows_the_task(impl, make_pool):
    error = make_pool(1).submit(fail).exception(LONG)
    trace, names = error.__traceback__, []
    while trace:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "fail"


def test_future_states_as_seen_from_outside(impl, make_pool, gate):
    pool = make_pool(1)
    running, pending = pool.submit(gate.wait, 1), pool.submit(int)
    gate.until_entered()
    assert running.running() and not running.done() and not running.cancel()
    assert not pending.running() and not pending.done()
    gate.open()
    assert running.result(LONG) == 1 and pending.result(LONG) == 0 and running.done()


def test_cancel_before_the_start(impl, make_pool, gate):
    pool, ran = make_pool(1), []
    pool.submit(gate.wait)
    futures = [pool.submit(ran.append, number) for number in range(100)]
    assert all(future.cancel() for future in futures[::2])
    gate.open()
    concurrent.futures.wait(futures, LONG)
    assert ran == list(range(1, 100, 2))
    assert [future.cancelled() for future in futures] == [True, False] * 50


def test_task_may_look_at_its_own_future(impl, make_pool, gate):
    pool, box = make_pool(1), []

    def body():
        gate.wait()
        return box[0].running(), box[0].done(), box[0].cancel()

    box.append(pool.submit(body))
    gate.open()
    assert box[0].result(LONG) == (True, False, False)


class Thing:
    def method(self, *args):
        return None


def test_function_and_arguments_are_dropped_after_the_run(impl, make_pool):
    pool = make_pool(1)
    function_owner, argument, keyword = Thing(), Thing(), Thing()
    references = [weakref.ref(thing) for thing in (function_owner, argument, keyword)]
    future = pool.submit(lambda *a, owner=function_owner, **k: None, argument, key=keyword)
    future.result(LONG)
    del function_owner, argument, keyword
    assert all(dies(reference) for reference in references)
    assert future.done()


def test_discarded_future_keeps_nothing_alive(impl, make_pool):
    thing = Thing()
    reference = weakref.ref(thing)
    make_pool(1).submit(thing.method)
    del thing
    assert dies(reference)


def test_arguments_of_a_cancelled_task_are_dropped(impl, make_pool, gate):
    pool, thing = make_pool(1), Thing()
    reference = weakref.ref(thing)
    pool.submit(gate.wait)
    pool.submit(thing.method).cancel()
    del thing
    gate.open()
    assert pool.submit(int).result(LONG) == 0
    assert dies(reference)


def test_values_pass_through_unchanged(impl, make_pool):
    pool = make_pool(2)
    for value in itertools.chain((None, True, ..., NotImplemented), (object(), [], {}, Failure, Failure())):
        assert pool.submit(lambda value=value: value).result(LONG) is value
