"""Arguments of native methods: taken and refused as those of Python functions are."""

import concurrent.futures

import pytest
import treadle


def refused(function, *args, **kwargs):
    with pytest.raises(TypeError) as info:
        function(*args, **kwargs)
    return str(info.value)


def methods(future):
    """Functions of one argument, its name, and a value for it; the first takes none as well."""
    return [
        (future.exception, "timeout", 0),
        (future.add_done_callback, "fn", print),
        (future.set_result, "result", 1),
        (future.set_exception, "exception", ValueError()),
    ]


@pytest.mark.parametrize("index", range(4))
def test_what_is_refused(impl, index):
    future = impl.Future()
    method, name, value = methods(future)[index]
    assert "takes" in refused(method, value, value)
    assert "multiple values for argument" in refused(method, value, **{name: value})
    assert "unexpected keyword argument 'nonsense'" in refused(method, nonsense=value)
    if index > 0:
        assert "missing" in refused(method) and name in refused(method)
    assert not future.done() and future._done_callbacks == []


@pytest.mark.parametrize("index", [1, 2])
def test_by_position_and_by_name(impl, index):
    for by_name in (False, True):
        future = impl.Future()
        method, name, value = methods(future)[index]
        assert (method(**{name: value}) if by_name else method(value)) is None


def test_functions_of_several_arguments(impl):
    done = concurrent.futures.Future()
    done.set_result(1)
    everything = {done}
    for result in (
        impl.wait([done], 1, "ALL_COMPLETED"),
        impl.wait([done], 1, return_when="ALL_COMPLETED"),
        impl.wait(return_when="ALL_COMPLETED", timeout=1, fs=[done]),
        impl.wait([done], return_when="FIRST_COMPLETED"),
    ):
        assert result == (everything, set())
    assert "unexpected keyword argument 'timeouts'" in refused(impl.wait, [done], timeouts=1)
    assert "multiple values for argument 'fs'" in refused(impl.wait, [done], fs=[done])
    assert "'fs'" in refused(impl.wait, timeout=1)
    assert "takes" in refused(impl.wait, [done], 1, "ALL_COMPLETED", 4)


def test_names_of_functions_and_numbers_are_in_the_message():
    assert refused(treadle.wait, 1, 2, 3, 4) == "wait() takes at most 3 arguments (4 given)"
    assert refused(treadle.Future().set_result, 1, 2) == "Future.set_result() takes at most 1 argument (2 given)"
    assert refused(treadle.wait) == "wait() missing required argument: 'fs'"
    loop = treadle.new_event_loop()
    try:
        assert refused(loop._make_stream_transport) == "_make_stream_transport() missing required argument: 'sock'"
    finally:
        loop.close()
