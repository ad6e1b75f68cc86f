"""Functions to map."""

import pytest

LONG = 60.0


class Failure(Exception):
    pass


def fail_on(bad):
    def function(value):
        if value == bad:
            raise Failure(value)
        return value

    return function


@pytest.fixture(params=["map", "map_unordered"])
def native_map(request, make_native_pool):
    """A function that makes a pool and gives its `map` or `map_unordered`."""

    def make(*args, **kwargs):
        return getattr(make_native_pool(*args, **kwargs), request.param)

    return make
