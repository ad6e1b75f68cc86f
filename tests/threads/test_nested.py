"""Workers that wait for work of their own pool do not deadlock; outside threads help only when asked to."""

import threading

import pytest
from support import eventually, start_thread

LONG = 60.0


def test_submit_and_wait_inside_the_only_worker(make_native_pool):
    pool = make_native_pool(1)
    assert pool.submit(lambda: pool.submit(pow, 2, 3).result()).result(LONG) == 8


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_recursive_tree(make_native_pool, workers):
    pool = make_native_pool(workers)

    def tree(depth):
        if depth == 0:
            return 1
        left, right = pool.submit(tree, depth - 1), pool.submit(tree, depth - 1)
        return left.result() + right.result()

    assert pool.submit(tree, 7).result(LONG) == 128


def test_deep_chain(make_native_pool):
    pool = make_native_pool(1)

    def chain(depth):
        return depth if depth == 0 else pool.submit(chain, depth - 1).result() + 1

    assert pool.submit(chain, 60).result(LONG) == 60


def test_chain_beyond_the_recursion_limit_is_an_error_not_a_crash(make_native_pool):
    pool = make_native_pool(1)

    def chain(depth):
        return 0 if depth == 0 else pool.submit(chain, depth - 1).result() + 1

    future = pool.submit(chain, 100_000)
    assert isinstance(future.exception(LONG), RecursionError)
    assert pool.submit(int).result(LONG) == 0


@pytest.mark.parametrize("name", ["map", "map_unordered"])
def test_map_inside_the_only_worker(make_native_pool, name):
    pool = make_native_pool(1)
    assert pool.submit(lambda: sorted(getattr(pool, name)(abs, range(-50, 0)))).result(LONG) == list(range(1, 51))


@pytest.mark.parametrize("name", ["map", "map_unordered"])
@pytest.mark.parametrize("options", [{"buffersize": 2}, {"chunksize": 5}], ids=str)
def test_map_with_options_inside_the_only_worker(make_native_pool, name, options):
    pool = make_native_pool(1)
    inner = pool.submit(lambda: sorted(getattr(pool, name)(abs, range(20), **options)))
    assert inner.result(LONG) == list(range(20))


def test_map_inside_map_inside_map(make_native_pool):
    pool = make_native_pool(2)

    def level(depth):
        return 1 if depth == 0 else sum(pool.map(level, [depth - 1] * 3))

    assert level(4) == 81


@pytest.mark.parametrize("return_when", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_wait_inside_the_only_worker(native, make_native_pool, return_when):
    pool = make_native_pool(1)

    def body():
        futures = [pool.submit(pow, n, 2) for n in range(5)]
        done, not_done = native.wait(futures, LONG, return_when)
        return len(done), len(not_done)

    done, not_done = pool.submit(body).result(LONG)
    assert done >= 1 and done + not_done == 5
    if return_when != "FIRST_COMPLETED":
        assert done == 5


def test_as_completed_inside_the_only_worker(native, make_native_pool):
    pool = make_native_pool(1)

    def body():
        futures = [pool.submit(pow, n, 2) for n in range(5)]
        return sorted(future.result() for future in native.as_completed(futures, LONG))

    assert pool.submit(body).result(LONG) == [0, 1, 4, 9, 16]


def test_exception_inside(make_native_pool):
    pool = make_native_pool(1)

    def body():
        inner = pool.submit(divmod, 1, 0)
        return type(inner.exception())

    assert pool.submit(body).result(LONG) is ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: pool.submit(divmod, 1, 0).result()).result(LONG)


def test_cancelled_inside(native, make_native_pool):
    pool = make_native_pool(1)

    def body():
        inner = pool.submit(int)
        assert inner.cancel()
        try:
            inner.result()
        except native.CancelledError:
            return "cancelled"

    assert pool.submit(body).result(LONG) == "cancelled"


def test_inner_item_runs_once_and_on_the_waiting_thread(make_native_pool):
    pool, idents = make_native_pool(1), []

    def inner():
        idents.append(threading.get_ident())
        return len(idents)

    def outer():
        future = pool.submit(inner)
        return threading.get_ident(), future.result(), future.result()

    ident, first, second = pool.submit(outer).result(LONG)
    assert idents == [ident] and first == second == 1
    assert pool.submit(int).result(LONG) == 0 and idents == [ident]


def test_waiting_for_an_item_that_runs_elsewhere(make_native_pool, gate):
    pool = make_native_pool(2)
    held = pool.submit(gate.wait, "held")
    gate.until_entered()
    waiter = pool.submit(lambda: held.result())
    assert not waiter.done()
    gate.open()
    assert waiter.result(LONG) == "held"


def test_workers_wait_for_the_same_item(make_native_pool, gate):
    pool, runs = make_native_pool(2), []
    shared, ready = [], threading.Barrier(3)

    def waiter():
        ready.wait(LONG)
        ready.wait(LONG)
        return shared[0].result()

    waiters = [pool.submit(waiter) for _ in range(2)]
    ready.wait(LONG)  # both workers are busy: one of them must run the item
    shared.append(pool.submit(runs.append, 1))
    ready.wait(LONG)
    assert [future.result(LONG) for future in waiters] == [None, None] and runs == [1]


def test_worker_waits_for_work_of_another_pool(make_native_pool):
    first, second = make_native_pool(1), make_native_pool(1)
    here, there = first.submit(
        lambda: (threading.get_ident(), second.submit(threading.get_ident).result(LONG))
    ).result(LONG)
    assert here != there


def test_pools_that_call_each_other_in_turn(make_native_pool):
    pools = [make_native_pool(2), make_native_pool(2)]

    def ping(depth):
        return 0 if depth == 0 else pools[depth % 2].submit(ping, depth - 1).result(LONG) + 1

    assert pools[0].submit(ping, 3).result(LONG) == 3


def test_timeout_inside_a_worker(make_native_pool, gate):
    pool = make_native_pool(2)
    held = pool.submit(gate.wait)
    gate.until_entered()

    def body():
        try:
            held.result(0.02)
        except TimeoutError:
            return "timed out"

    assert pool.submit(body).result(LONG) == "timed out"


def test_nested_under_shutdown(make_native_pool):
    pool = make_native_pool(1)
    ready = threading.Event()

    def body():
        inner = [pool.submit(pow, n, 2) for n in range(5)]
        ready.set()
        return [future.result() for future in inner]

    future = pool.submit(body)
    assert ready.wait(LONG)
    pool.shutdown(wait=True)
    assert future.result(0) == [0, 1, 4, 9, 16]


# --- threads outside --------------------------------------------------------------------------------------------------


def test_outside_threads_do_not_run_items(make_native_pool):
    pool = make_native_pool(2)
    idents = {pool.submit(threading.get_ident).result(LONG) for _ in range(200)}
    idents |= set(pool.map(lambda _: threading.get_ident(), range(200)))
    assert threading.get_ident() not in idents


def test_inline_waits_lets_an_outside_thread_run_what_it_waits_for(make_native_pool, gate):
    pool = make_native_pool(1, inline_waits=True)
    pool.submit(gate.wait)
    gate.until_entered()
    # The only worker is held: nobody but the waiting thread can run this.
    assert pool.submit(threading.get_ident).result(LONG) == threading.get_ident()
    thread = start_thread(lambda: (threading.get_ident(), pool.submit(threading.get_ident).result(LONG)))
    assert eventually(lambda: thread.outcome is not None)
    thread.join(LONG)
    assert thread.outcome[1] is None and len(set(thread.outcome[0])) == 1


def test_inline_waits_runs_each_item_once(make_native_pool):
    pool, counts = make_native_pool(2, inline_waits=True), [0] * 2000

    def count(number):
        counts[number] += 1

    futures = [pool.submit(count, number) for number in range(2000)]
    for future in futures:
        future.result(LONG)
    assert counts == [1] * 2000


def test_inline_waits_and_exceptions(make_native_pool, gate):
    pool = make_native_pool(1, inline_waits=True)
    pool.submit(gate.wait)
    gate.until_entered()
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(LONG)


def test_a_wait_with_timeout_on_a_held_pool_times_out(make_native_pool, gate):
    pool = make_native_pool(1)
    pool.submit(gate.wait)
    gate.until_entered()
    future = pool.submit(int)
    with pytest.raises(TimeoutError):
        future.result(0.02)
    gate.open()
    assert future.result(LONG) == 0
