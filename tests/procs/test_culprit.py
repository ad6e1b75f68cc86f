"""An error of pickling says which part of a call or result it is about."""

import functools
import pickle
import threading

import pytest

import treadle
from support.codecs import Pair


class Thing:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def method(self):
        pass


def note(function, *args, **kwargs):
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)) as caught:
        function(*args, **kwargs)
    notes = [n for n in getattr(caught.value, "__notes__", ()) if n.startswith("what cannot be pickled: ")]
    assert len(notes) == 1
    return notes[0].partition(": ")[2]


@pytest.fixture
def pair():
    return Pair()


def test_calls(pair):
    lock = threading.Lock()
    call = pair.parent.put_call
    assert note(call, print, 1, lock) == "args[1], of type _thread.lock"
    assert note(call, print, [{"a": (1, lock)}]) == "args[0][0]['a'][1], of type _thread.lock"
    assert note(call, print, key=Thing(x=5, y=[lock])) == "kwargs['key'].y[0], of type _thread.lock"
    assert note(call, Thing(x=lock).method).startswith("fn.__self__.x, of type _thread.lock")
    assert note(call, functools.partial(print, 5, end=lock)) == "fn.keywords['end'], of type _thread.lock"
    assert note(call, lambda: 0) == "fn, of type builtins.function"


def test_values(pair):
    assert note(pair.worker.put_value, {"a": Thing(b=lambda: 0)}) == "result['a'].b, of type builtins.function"


def test_what_succeeds_in_parts(pair):
    class Fails:
        def __reduce__(self):
            raise TypeError("no")

    text = note(pair.parent.put_value, [1, Fails()])
    assert text == f"result[1], of type {Fails.__module__}.{Fails.__qualname__}"


def test_other_errors_are_left_alone(pair):
    class Stops:
        def __reduce__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        pair.parent.put_value([Stops()])
    assert not any("cannot be pickled" in note for note in getattr(caught.value, "__notes__", ()))


def test_long_values_take_bounded_time(pair):
    tries = 0

    class Counts:
        def __reduce__(self):
            nonlocal tries
            tries += 1
            return int, ()

    with pytest.raises((TypeError, pickle.PicklingError)):
        pair.parent.put_value([*(Counts() for _ in range(5000)), threading.Lock()])
    # the value itself, once more to see that it is the one, and some of its parts
    assert 10_000 < tries < 11_000


def test_through_a_pool():
    with treadle.ProcessPoolExecutor(1, mp_context="zygote") as pool:
        future = pool.submit(print, [threading.Lock()])
        assert "args[0][0], of type _thread.lock" in "".join(getattr(future.exception(), "__notes__", ()))
