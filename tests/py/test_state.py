"""The module's state: of one interpreter, of one module object; types and names."""

import asyncio
import concurrent.futures
import weakref

import pytest
import treadle
from support import run_script
from treadle import _native


def test_each_module_object_has_types_of_its_own():
    code = (
        "import importlib.util, gc\n"
        "import treadle\n"
        "from treadle import _native\n"
        "spec = importlib.util.spec_from_file_location('treadle._native', _native.__file__)\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "assert module is not _native and module.Future is not _native.Future\n"
        "future = module.Future()\n"
        "future.set_result(1)\n"
        "assert future.result() == 1 and not isinstance(future, treadle.Future)\n"
        "del module, future, spec\n"
        "gc.collect()\n"
        "assert treadle.Future().done() is False\n"
        "print('ok')\n"
    )
    assert run_script(code) == "ok\n"


def native_types():
    return [each for each in vars(_native).values() if isinstance(each, type)]


def test_types_are_found_under_their_names():
    assert {"Future", "LoopBase", "StreamTransport", "LoopInbox"} <= {each.__name__ for each in native_types()}
    for each in native_types():
        if each is treadle.LoopFuture:  # calls itself as asyncio's, for what it says in messages
            assert each.__name__ == "Future"
            continue
        assert getattr(_native, each.__name__) is each
        assert each.__module__ in ("treadle", "treadle._native")


@pytest.mark.parametrize("name", ["LoopInbox", "SockWatch", "StreamTransport"])
def test_types_that_only_native_code_makes(name):
    with pytest.raises(TypeError, match="cannot create|abstract"):
        getattr(_native, name)()


def test_native_classes_are_instances_of_the_standard_ones():
    assert issubclass(treadle.Future, concurrent.futures.Future)
    assert issubclass(_native.StreamTransport, asyncio.Transport)
    loop = treadle.new_event_loop()
    handle = loop.call_soon(print)
    assert type(handle) in native_types() and isinstance(handle, asyncio.Handle)
    loop.close()
    subclass = type("Sub", (treadle.Future,), {})
    future = subclass()
    future.extra = 1
    assert weakref.ref(future)() is future
