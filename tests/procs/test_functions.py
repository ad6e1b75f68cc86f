"""Functions that go by a number: what pickle sends by name, and always the one of that name."""

import functools
import importlib
import pickle
import sys
import textwrap

import pytest

from support.codecs import Pair


def top_level(x):
    return x


class Thing:
    def __init__(self, value=0):
        self.value = value

    def method(self):
        return self.value

    @classmethod
    def made(cls):
        return cls()

    @staticmethod
    def static():
        pass

    def __call__(self):
        return self.value


@pytest.fixture
def pair():
    return Pair(stores=False)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes and imports a module of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source):
        tmp_path.joinpath("scratch_functions.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        if "scratch_functions" in sys.modules:
            return importlib.reload(sys.modules["scratch_functions"])
        return importlib.import_module("scratch_functions")

    yield write
    sys.modules.pop("scratch_functions", None)


@pytest.mark.parametrize("function", [top_level, len, Thing, int, textwrap.dedent], ids=lambda f: f.__name__)
def test_goes_by_number(pair, function):
    number, data = pair.parent.put_call(function, 5)
    assert number > 0
    assert pair.parent.put_call(function, 5) == (number, data)
    assert function.__name__.encode() not in data
    pair.worker.define(number, pair.parent.function(number))
    assert pair.worker.get_call(number, data) == (function, (5,), {})


@pytest.mark.parametrize(
    "function",
    [
        Thing(3),
        functools.partial(top_level, 1),
        Thing.made,
        Thing.static,
        [].append,
        "abc".upper,
        functools.partial(Thing().method),
    ],
    # names, since a repr has an address that is not the same in every process
    ids=["callable", "partial", "classmethod", "staticmethod", "of a list", "of a str", "partial of a method"],
)
def test_is_pickled_each_time(pair, function):
    number, data = pair.parent.put_call(function)
    assert number == 0
    callable_, args, kwargs = pair.worker.get_call(0, data)
    assert (args, kwargs) == ((), {})
    assert type(callable_) is type(function)


def test_state_is_never_stale(pair):
    thing = Thing(1)
    partial = functools.partial(top_level, [1])
    assert pair.call(thing.method)[0]() == 1
    assert pair.call(thing)[0]() == 1
    assert pair.call(partial)[0]() == [1]
    thing.value = 2
    partial.args[0].append(2)
    assert pair.call(thing.method)[0]() == 2
    assert pair.call(thing)[0]() == 2
    assert pair.call(partial)[0]() == [1, 2]


def test_method_and_argument_stay_one_object(pair):
    thing = Thing()
    method, (argument,), _ = pair.call(thing.method, thing)
    assert method.__self__ is argument


def test_numbers_are_of_names(pair):
    numbers = {pair.parent.put_call(f)[0] for f in (top_level, Thing, len, int)}
    assert len(numbers) == 4
    assert 0 not in numbers


def test_reloaded_module(pair, module):
    m = module("def f(): return 1")
    old = m.f
    assert pair.call(m.f)[0]() == 1
    m = module("def f(): return 2")
    assert pair.call(m.f)[0] is m.f
    assert pair.call(m.f)[0]() == 2
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pair.parent.put_call(old)


def test_redefined_function(pair, module):
    m = module("def f(): return 1")
    number, data = pair.parent.put_call(m.f)
    pair.worker.define(number, pair.parent.function(number))
    exec("def f(): return 2", m.__dict__)
    assert pair.parent.put_call(m.f) == (number, data)
    assert pair.worker.get_call(number, data)[0]() == 2


def test_function_that_went_away(pair, module):
    m = module("def f(): return 1")
    number, data = pair.parent.put_call(m.f)
    pair.worker.define(number, pair.parent.function(number))
    del m.f
    with pytest.raises(AttributeError, match="Can't get attribute 'f' on <module 'scratch_functions'"):
        pair.worker.get_call(number, data)
    m.f = top_level
    assert pair.worker.get_call(number, data)[0] is top_level


def test_module_that_cannot_be_imported(pair, module):
    m = module("def f(): return 1")
    number, data = pair.parent.put_call(m.f)
    pair.worker.define(number, pair.parent.function(number))
    del sys.modules["scratch_functions"]
    assert pair.worker.get_call(number, data)[0].__name__ == "f"
    del sys.modules["scratch_functions"]
    sys.path.remove(next(path for path in sys.path if m.__file__.startswith(path)))
    sys.path_importer_cache.clear()
    with pytest.raises(ModuleNotFoundError, match="scratch_functions"):
        pair.worker.get_call(number, data)


def test_module_getattr(pair, module):
    m = module("def __getattr__(name): return len")
    m.f = top_level
    assert pair.call(len)[0] is len
    number, data = pair.parent.put_call(top_level)
    assert number > 0


@pytest.mark.parametrize("what", ["lambda", "local", "renamed", "no module"])
def test_not_found_by_name(pair, what):
    def local():
        pass

    function = {"lambda": lambda: 0, "local": local}.get(what)
    if function is None:
        exec("def function(): pass", globals())
        function = globals()["function"]
        if what == "renamed":
            function.__qualname__ = "another"
        else:
            function.__module__ = "does_not_exist"
    with pytest.raises((pickle.PicklingError, AttributeError)) as caught:
        pair.parent.put_call(function)
    with pytest.raises(caught.type) as stock:
        pickle.dumps(function)
    assert str(caught.value).partition(" at 0x")[0] == str(stock.value).partition(" at 0x")[0]


def test_unknown_numbers(pair):
    _, data = pair.parent.put_call(top_level)
    for number in 1, 7, 4096, 4097, 2**32 - 1:
        with pytest.raises(pickle.UnpicklingError, match="not defined"):
            pair.worker.get_call(number, data)
        if number != 1:
            with pytest.raises(OSError, match="No such file"):
                pair.parent.function(number)
    with pytest.raises(OSError, match="No such file"):
        pair.parent.function(0)


@pytest.mark.parametrize("data", [b"", b"\1", b"\xff\xff", b"\5\0abc", b"\2\0\xff\xffx", b"\1\0x\xff"], ids=repr)
def test_malformed_definitions(pair, data):
    with pytest.raises(pickle.UnpicklingError, match="malformed message"):
        pair.worker.define(1, data)
    with pytest.raises(pickle.UnpicklingError, match="malformed message"):
        pair.worker.define(0, b"\1\0xy")
    with pytest.raises(pickle.UnpicklingError, match="malformed message"):
        pair.worker.define(5000, b"\1\0xy")


def test_defined_again(pair):
    number, data = pair.parent.put_call(top_level)
    pair.worker.define(number, pair.parent.function(number))
    pair.worker.define(number, b"\x08\0builtinslen")
    assert pair.worker.get_call(number, data)[0] is len


def test_table_is_bounded(pair, module):
    m = module("")
    for i in range(4200):
        exec(f"def f{i}(): pass", m.__dict__)
    numbers = [pair.parent.put_call(getattr(m, f"f{i}"))[0] for i in range(4200)]
    assert len(set(numbers)) == 4097
    assert numbers[-1] == 0
    assert pair.parent.put_call(m.f0)[0] == numbers[0]
    assert pair.call(m.f4199)[0] is m.f4199


class ByValue:
    """A pickler that sends one function of its own in another way."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj):
            if obj is top_level:
                return eval, ("len",)
            return NotImplemented


def test_pickler_has_the_say():
    pair = Pair(stores=False, pickler=ByValue)
    assert pair.parent.put_call(top_level)[0] == 0
    assert pair.call(top_level)[0] is len
    assert pair.parent.put_call(Thing)[0] > 0


def test_cloudpickle():
    cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")
    pair = Pair(pickler=cloudpickle)
    step = 2
    assert pair.call(lambda x: x + step, 5)[0](5) == 7
    step = 3
    assert pair.call(lambda x: x + step, 5)[0](5) == 8
    assert pair.parent.put_call(textwrap.dedent, "")[0] > 0
    text = pair.back([lambda: "x" * 100_000])[0]()
    assert text == "x" * 100_000
