"""The StopIteration that ends an await: one is used again, unless somebody has kept or marked it."""

import weakref

import treadle

VALUES = [True, 1, 2.5, None, 2**80, "text", (1, 2), StopIteration(1)]


def stopped(value):
    """What awaiting a future with this result raises at last, as a Python caller sees it."""
    loop = treadle.new_event_loop()
    future = loop.create_future()
    future.set_result(value)
    loop.close()
    try:
        next(future.__await__())
    except StopIteration as stop:
        return stop
    raise AssertionError("it did not stop")


def test_values():
    for value in VALUES:
        assert stopped(value).value is value


def test_those_that_are_kept_stay_as_they_are():
    kept = [stopped(value) for value in VALUES * 2]
    assert len({id(stop) for stop in kept}) == len(kept)
    assert [stop.value for stop in kept] == VALUES * 2


def test_what_is_noted_on_one_is_not_on_the_next():
    for mark in ("note", "__context__", "__cause__", "__traceback__"):
        stop = stopped(1)
        setattr(stop, mark, None if mark == "__traceback__" else ValueError("mark"))
        del stop
        after = stopped(2)
        assert not hasattr(after, "note") and after.__context__ is None and after.__cause__ is None


def test_nothing_large_outlives_its_await():
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    stopped(thing)
    del thing
    assert gone() is None
