"""wait() and as_completed() of either implementation, on futures of either, or of both in turn."""

import collections

import pytest

from support.implementations import IMPLEMENTATIONS, STDLIB, TREADLE

LONG = 60.0  # seconds a wait may last that must not be cut short

Mix = collections.namedtuple("Mix", "wait as_completed make")


def alternate(*kinds):
    """A maker of futures that takes the given classes in turn."""
    made = []

    def make():
        made.append(kinds[len(made) % len(kinds)]())
        return made[-1]

    return make


def mixes():
    for implementation in IMPLEMENTATIONS:
        (functions,) = implementation.values
        for name, kinds in (("stdlib", [STDLIB]), ("treadle", [TREADLE]), ("mixed", [STDLIB, TREADLE])):
            yield pytest.param((functions, [kind.Future for kind in kinds]), id=f"{functions.name} on {name} futures")


@pytest.fixture(params=mixes())
def mix(request):
    functions, kinds = request.param
    return Mix(functions.wait, functions.as_completed, alternate(*kinds))


def finished(future, result=None):
    future.set_result(result)
    return future


def failed(future):
    future.set_exception(ValueError())
    return future


def cancelled(future, notified=True):
    future.cancel()
    if notified:
        future.set_running_or_notify_cancel()
    return future
