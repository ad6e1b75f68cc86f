"""options(priority=, context=) and ThreadPoolExecutor(context=True)."""

import concurrent.futures
import contextvars
import itertools

import pytest
from support import start_thread

LONG = 60.0

variable = contextvars.ContextVar("variable", default="default")


def set_and_get(value):
    seen = variable.get()
    variable.set(value)
    return seen


# --- priority ---------------------------------------------------------------------------------------------------------


def test_higher_numbers_run_first(make_native_pool, gate):
    pool, order = make_native_pool(1), []
    pool.submit(gate.wait)
    gate.until_entered()
    futures = [pool.options(priority=priority).submit(order.append, priority) for priority in (0, 5, -3, 10, 1, -100, 7)]
    gate.open()
    for future in futures:
        future.result(LONG)
    assert order == [10, 7, 5, 1, 0, -3, -100]


def test_equal_priorities_keep_their_order(make_native_pool, gate):
    pool, order = make_native_pool(1), []
    pool.submit(gate.wait)
    gate.until_entered()
    futures = [pool.options(priority=n % 3).submit(order.append, (n % 3, n)) for n in range(300)]
    gate.open()
    for future in futures:
        future.result(LONG)
    assert order == sorted(order, key=lambda pair: (-pair[0], pair[1]))


def test_no_priority_is_priority_zero(make_native_pool, gate):
    pool, order = make_native_pool(1), []
    pool.submit(gate.wait)
    gate.until_entered()
    plain = [pool.submit(order.append, "plain 1"), pool.submit(order.append, "plain 2")]
    others = [
        pool.options(priority=-1).submit(order.append, "later"),
        pool.options(priority=1).submit(order.append, "sooner"),
        pool.options(priority=0).submit(order.append, "zero"),
    ]
    gate.open()
    for future in plain + others:
        future.result(LONG)
    assert order == ["sooner", "plain 1", "plain 2", "zero", "later"]


def test_priority_of_a_map(make_native_pool, gate):
    pool, order = make_native_pool(1), []
    pool.submit(gate.wait)
    gate.until_entered()
    low = pool.map(order.append, ["low"] * 20)
    high = pool.options(priority=5).map(order.append, ["high"] * 20)
    gate.open()
    assert list(low) == list(high) == [None] * 20
    assert order == ["high"] * 20 + ["low"] * 20


def test_extreme_priorities(make_native_pool, gate):
    pool, order = make_native_pool(1), []
    pool.submit(gate.wait)
    gate.until_entered()
    values = [2**31 - 1, -(2**31), 0]
    futures = [pool.options(priority=value).submit(order.append, value) for value in values]
    gate.open()
    for future in futures:
        future.result(LONG)
    assert order == [2**31 - 1, 0, -(2**31)]


@pytest.mark.parametrize("bad", ["1", 1.5, [], object()])
def test_bad_priority(make_native_pool, bad):
    with pytest.raises(TypeError):
        make_native_pool(1).options(priority=bad).submit(int)
    with pytest.raises(TypeError):
        make_native_pool(1).options(priority=bad).map(int, [1])


def test_priority_beyond_any_integer_type(make_native_pool):
    with pytest.raises((OverflowError, ValueError)):
        make_native_pool(1).options(priority=2**100).submit(int)


def test_prioritised_item_can_be_cancelled(make_native_pool, gate):
    pool, order = make_native_pool(1), []
    pool.submit(gate.wait)
    gate.until_entered()
    futures = [pool.options(priority=n).submit(order.append, n) for n in range(10)]
    assert all(future.cancel() for future in futures[1::2])
    gate.open()
    assert [future.result(LONG) for future in futures[::2]] == [None] * 5
    assert order == [8, 6, 4, 2, 0]


def test_queue_size_counts_prioritised_items(make_native_pool, gate):
    pool = make_native_pool(1)
    pool.submit(gate.wait)
    gate.until_entered()
    for n in range(10):
        pool.options(priority=n % 2).submit(int)
    assert pool._work_queue.qsize() == 10


def test_shutdown_cancels_prioritised_items(make_native_pool, gate):
    pool = make_native_pool(1)
    pool.submit(gate.wait)
    gate.until_entered()
    futures = [pool.options(priority=n % 3).submit(int) for n in range(30)]
    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert all(future.cancelled() for future in futures)


# --- the view ---------------------------------------------------------------------------------------------------------


def test_view_has_the_methods_of_the_pool(make_native_pool):
    view = make_native_pool(2).options(priority=1)
    assert view.submit(pow, 2, 3).result(LONG) == 8
    assert view.submit(dict, fn=1, self=2, priority=3).result(LONG) == {"fn": 1, "self": 2, "priority": 3}
    assert list(view.map(pow, range(5), itertools.repeat(2))) == [0, 1, 4, 9, 16]
    assert list(view.map(abs, itertools.count(), buffersize=2).__next__() for _ in range(1)) == [0]
    assert sorted(view.map_unordered(abs, range(-4, 0))) == [1, 2, 3, 4]


def test_view_without_options_is_the_plain_pool(make_native_pool):
    assert make_native_pool(1).options().submit(int).result(LONG) == 0


def test_view_takes_keywords_only(make_native_pool):
    pool = make_native_pool(1)
    with pytest.raises(TypeError):
        pool.options(1)
    with pytest.raises(TypeError):
        pool.options(nonsense=1)


def test_view_of_a_pool_that_is_shut_down(make_native_pool):
    pool = make_native_pool(1)
    view = pool.options(priority=1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown$"):
        view.submit(int)
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown$"):
        list(view.map(int, [1]))


def test_view_keeps_the_pool_alive(native):
    view = native.ThreadPoolExecutor(1).options(priority=1)
    assert view.submit(int).result(LONG) == 0


# --- context ----------------------------------------------------------------------------------------------------------


def test_without_context_workers_have_their_own(native, make_native_pool):
    pool = make_native_pool(1)
    token = variable.set("caller")
    try:
        # What the standard pool does on this version, whatever that is (threads inherit from 3.14t on).
        with concurrent.futures.ThreadPoolExecutor(1) as standard:
            expected = standard.submit(variable.get).result(LONG)
        assert pool.submit(variable.get).result(LONG) == expected
    finally:
        variable.reset(token)


def test_context_pool_carries_the_callers_variables(make_native_pool):
    pool = make_native_pool(2, context=True)
    for value in ("one", "two"):
        token = variable.set(value)
        assert pool.submit(variable.get).result(LONG) == value
        assert set(pool.map(lambda _: variable.get(), range(20))) == {value}
        assert set(pool.map_unordered(lambda _: variable.get(), range(20))) == {value}
        variable.reset(token)
    assert pool.submit(variable.get).result(LONG) == "default"


def test_context_is_the_one_at_submission(make_native_pool, gate):
    pool = make_native_pool(1, context=True)
    pool.submit(gate.wait)
    token = variable.set("at submission")
    future = pool.submit(variable.get)
    variable.reset(token)
    gate.open()
    assert future.result(LONG) == "at submission"


def test_changes_in_a_task_stay_there(make_native_pool):
    pool = make_native_pool(1, context=True)
    token = variable.set("caller")
    try:
        assert [pool.submit(set_and_get, n).result(LONG) for n in range(3)] == ["caller"] * 3
        assert list(pool.map(set_and_get, range(3))) == ["caller"] * 3
        assert variable.get() == "caller"
    finally:
        variable.reset(token)


def test_each_thread_gives_its_own_context(make_native_pool):
    pool = make_native_pool(2, context=True)

    def submitter(value):
        variable.set(value)
        return [pool.submit(variable.get).result(LONG) for _ in range(50)]

    threads = [start_thread(submitter, value) for value in range(4)]
    for value, thread in enumerate(threads):
        thread.join(LONG)
        assert thread.outcome == ([value] * 50, None)


def test_context_by_option(make_native_pool):
    pool = make_native_pool(1)
    token = variable.set("by option")
    try:
        assert pool.options(context=True).submit(variable.get).result(LONG) == "by option"
        assert list(pool.options(context=True).map(lambda _: variable.get(), range(3))) == ["by option"] * 3
    finally:
        variable.reset(token)


def test_option_overrides_the_pool(make_native_pool):
    pool = make_native_pool(1, context=True)
    plain = make_native_pool(1)
    token = variable.set("caller")
    try:
        assert pool.options(context=False).submit(variable.get).result(LONG) == plain.submit(variable.get).result(LONG)
        assert pool.options(priority=1).submit(variable.get).result(LONG) == "caller"
    finally:
        variable.reset(token)


def test_callbacks_may_use_variables(make_native_pool, gate):
    pool, seen = make_native_pool(1, context=True), []
    future = pool.submit(gate.wait)
    future.add_done_callback(lambda _: seen.append(variable.get()))
    gate.open()
    pool.shutdown()
    assert len(seen) == 1


def test_exception_in_a_context(make_native_pool):
    def body():
        variable.set("changed")
        raise ValueError(variable.get())

    pool = make_native_pool(1, context=True)
    assert pool.submit(body).exception(LONG).args == ("changed",)
    assert pool.submit(variable.get).result(LONG) == "default"
