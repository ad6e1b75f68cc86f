"""map and map_unordered: order, laziness, bounds, timeouts, early ends, errors, progress."""

import io
import itertools
import sys
from concurrent.futures import CancelledError

import pytest
from support.mapping import Failure, LONG, fail_on, native_map


def test_after_shutdown(impl, make_pool):
    pool = make_pool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown$"):
        list(pool.map(abs, [1]))


def test_several_maps_at_once(impl, make_pool):
    pool = make_pool(3)
    maps = [pool.map(pow, range(200), itertools.repeat(exponent)) for exponent in range(5)]
    for exponent, iterator in reversed(list(enumerate(maps))):
        assert list(iterator) == [n**exponent for n in range(200)]


def test_submit_and_map_share_the_workers(impl, make_pool):
    pool = make_pool(2)
    squares = pool.map(pow, range(300), itertools.repeat(2))
    futures = [pool.submit(pow, n, 3) for n in range(300)]
    assert list(squares) == [n * n for n in range(300)]
    assert [future.result(LONG) for future in futures] == [n**3 for n in range(300)]


def test_shutdown_with_cancel_ends_a_map(impl, make_pool, gate):
    pool = make_pool(1)
    iterator = pool.map(gate.wait, range(10))
    gate.until_entered()
    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert next(iterator) == 0
    with pytest.raises(CancelledError):
        next(iterator)


def test_overridden_submit_is_used_by_map(impl):
    class Counting(impl.ThreadPoolExecutor):
        calls = 0

        def submit(self, fn, /, *args, **kwargs):
            type(self).calls += 1
            return super().submit(fn, *args, **kwargs)

    with Counting(2) as pool:
        assert list(pool.map(abs, range(-10, 0))) == list(range(10, 0, -1))
    assert Counting.calls == 10


def test_submit_replaced_on_the_instance_is_used_by_map(impl, make_pool):
    pool, calls = make_pool(1), []
    original = pool.submit

    def submit(fn, /, *args, **kwargs):
        calls.append(args)
        return original(fn, *args, **kwargs)

    pool.submit = submit
    assert list(pool.map(abs, [-1, -2])) == [1, 2] and calls == [(-1,), (-2,)]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
@pytest.mark.parametrize("options", [{}, {"buffersize": 3}, {"chunksize": 7}, {"buffersize": 10, "chunksize": 4}], ids=str)
def test_every_item_once(native_map, count, options):
    assert sorted(native_map(3)(abs, range(count), **options)) == list(range(count))


def test_unordered_gives_the_fast_ones_first(make_native_pool, gate):
    def body(value):
        return gate.wait(value) if value == 0 else value

    iterator = make_native_pool(2).map_unordered(body, range(50))
    assert sorted(next(iterator) for _ in range(49)) == list(range(1, 50))
    gate.open()
    assert list(iterator) == [0]


def test_unordered_raises_what_the_function_raises(make_native_pool):
    with pytest.raises(Failure):
        list(make_native_pool(2).map_unordered(fail_on(3), range(10)))


def test_unknown_keywords(native_map):
    with pytest.raises(TypeError):
        native_map(1)(abs, [1], nonsense=1)


def test_map_inside_map(native_map):
    apply = native_map(2)

    def row(number):
        return sum(apply(abs, range(number)))

    assert sorted(apply(row, range(8))) == sorted(sum(range(n)) for n in range(8))


@pytest.fixture
def tqdm(monkeypatch):
    tqdm = pytest.importorskip("tqdm", reason="tqdm is not installed").tqdm
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # no thread of its own
    return tqdm


def test_progress_with_a_bar_of_ones_own(native_map, tqdm):
    bar = tqdm(total=50, file=io.StringIO())
    assert sorted(native_map(2)(abs, range(50), progress=bar)) == list(range(50))
    assert bar.n == 50


def test_progress_true_makes_a_bar(native_map, tqdm, capsys):
    assert sorted(native_map(2)(abs, range(30), progress=True)) == list(range(30))
    assert "30" in capsys.readouterr().err


def test_progress_false_shows_nothing(native_map, capsys):
    assert sorted(native_map(2)(abs, range(30), progress=False)) == list(range(30))
    assert capsys.readouterr().err == ""


def test_progress_stops_where_the_consumer_stops(make_native_pool, tqdm):
    bar = tqdm(total=50, file=io.StringIO())
    iterator = make_native_pool(2).map(abs, range(50), progress=bar)
    for _ in range(10):
        next(iterator)
    iterator.close()
    assert 10 <= bar.n <= 50


def test_progress_without_tqdm_is_a_clear_error(native_map, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    for name in [name for name in sys.modules if name.startswith("tqdm.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="tqdm"):
        native_map(1)(abs, [1], progress=True)


@pytest.mark.parametrize("bad", [42, "yes"])
def test_progress_that_is_no_bar(native_map, bad):
    with pytest.raises(TypeError, match="progress"):
        native_map(1)(abs, [1], progress=bad)
