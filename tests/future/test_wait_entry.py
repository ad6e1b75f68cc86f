"""Waiting for futures of both kinds at once: each is linked, noted and let go in its own way."""

import itertools

import pytest
import treadle
from support import eventually, start_thread
from support.mixed import cancelled, failed, finished
from support.implementations import STDLIB, TREADLE

LONG = 60.0
KINDS = {"stdlib": STDLIB.Future, "treadle": TREADLE.Future}


@pytest.fixture(params=itertools.product(KINDS, repeat=2), ids=" and ".join)
def pair(request):
    """Two pending futures of each combination of kinds."""
    return [KINDS[kind]() for kind in request.param]


def test_the_first_lets_the_others_go(pair):
    first, second = pair
    thread = start_thread(treadle.wait, pair, LONG, treadle.FIRST_COMPLETED)
    first.set_result(1)
    thread.join(LONG)
    assert not thread.is_alive()
    assert second._waiters == []
    second.set_result(2)  # nobody is linked to it any more
    assert treadle.wait(pair).done == set(pair)


@pytest.mark.parametrize("end", [finished, failed, cancelled])
def test_done_before_it_is_linked(pair, end):
    first, second = pair
    end(first)
    thread = start_thread(treadle.wait, pair, LONG)
    finished(second)
    thread.join(LONG)
    assert not thread.is_alive()
    done, pending = treadle.wait(pair, 0)
    assert done == set(pair) and not pending


def test_an_exception_among_results(pair):
    first, second = pair
    thread = start_thread(treadle.wait, pair, LONG, treadle.FIRST_EXCEPTION)
    second.set_exception(ValueError())
    thread.join(LONG)
    assert not thread.is_alive() and not first.done()


def test_what_has_reported_by_the_timeout(pair):
    first, second = pair
    finished(first)
    assert treadle.wait(pair, 0.01) == ({first}, {second})
    iterator = treadle.as_completed(pair, 0.01)
    assert next(iterator) is first
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        next(iterator)
    assert second._waiters == []


def test_abandoned_iterators_let_go(pair):
    iterator = treadle.as_completed(pair)
    finished(pair[0])
    assert next(iterator) is pair[0]
    iterator.close()
    assert pair[1]._waiters == []
    finished(pair[1])


def test_a_worker_runs_what_it_waits_for(make_native_pool, gate):
    """Only a future of its own pool; the other one comes from elsewhere."""
    pool = make_native_pool(1)
    other = STDLIB.Future()

    def outer():
        inner = pool.submit(divmod, 7, 2)
        gate.open()
        treadle.wait([inner, other], LONG)
        return inner.result(0), other.result(0)

    job = pool.submit(outer)
    assert eventually(lambda: other._waiters)
    other.set_result("other")
    assert job.result(LONG) == ((3, 1), "other")
