"""treadle.as_completed() when its iterator is used by two at once."""

import threading

import pytest

import treadle


def test_reentered_by_the_iterable():
    future = treadle.Future()
    future.set_result(None)
    refusals = []

    def futures():
        for use in (lambda: next(results), results.close):
            with pytest.raises(ValueError, match="already being advanced") as caught:
                use()
            refusals.append(caught.value)
        yield future

    results = treadle.as_completed(futures())
    assert list(results) == [future]
    assert len(refusals) == 2


def test_two_threads_at_once():
    inside, leave = threading.Event(), threading.Event()
    future = treadle.Future()
    future.set_result(None)

    def futures():
        inside.set()
        leave.wait(60)
        yield future

    results = treadle.as_completed(futures())
    yielded = []
    thread = threading.Thread(target=lambda: yielded.extend(results))
    thread.start()
    assert inside.wait(60)
    with pytest.raises(ValueError, match="already being advanced"):
        next(results)
    with pytest.raises(ValueError, match="already being advanced"):
        results.close()
    leave.set()
    thread.join()
    assert yielded == [future]
