"""A job that a waiting thread runs itself must not notice, nor leave anything behind."""

import contextvars
import threading

import treadle

variable = contextvars.ContextVar("variable", default="default")


def set_and_get(value):
    before = variable.get()
    variable.set(value)
    return before, threading.get_ident()


def test_a_nested_job_finds_what_the_initializer_left_and_leaks_nothing():
    def outer():
        inner = pool.submit(set_and_get, "inner")
        return inner.result(), variable.get(), threading.get_ident()

    with treadle.ThreadPoolExecutor(1, initializer=lambda: variable.set("initial")) as pool:
        (found, ran_on), after, ident = pool.submit(outer).result(60)
    assert ran_on == ident
    assert (found, after) == ("initial", "initial")


def test_items_of_a_nested_map_leak_nothing():
    def outer():
        return list(pool.map(set_and_get, ["a", "b", "c"])), variable.get()

    with treadle.ThreadPoolExecutor(1, initializer=lambda: variable.set("initial")) as pool:
        items, after = pool.submit(outer).result(60)
    assert [found for found, _ in items] == ["initial"] * 3
    assert after == "initial"


def test_an_inline_wait_leaks_nothing_into_the_waiting_thread():
    gate = threading.Event()
    with treadle.ThreadPoolExecutor(1, inline_waits=True) as pool:
        pool.submit(gate.wait)
        found, ran_on = pool.submit(set_and_get, "inline").result(60)
        gate.set()
    assert ran_on == threading.get_ident()
    assert found == "default" and variable.get() == "default"


def test_a_context_of_its_own_wins():
    def outer():
        variable.set("outer")
        view = pool.options(context=True)
        return view.submit(set_and_get, "inner").result()[0], variable.get()

    with treadle.ThreadPoolExecutor(1) as pool:
        assert pool.submit(outer).result(60) == ("outer", "outer")


def test_helped_jobs_are_counted():
    def outer():
        pool.submit(int).result()
        return list(pool.map(abs, range(5)))

    with treadle.ThreadPoolExecutor(1) as pool:
        pool.submit(outer).result(60)
    stats = pool.stats()
    assert stats["done"] == 7
    assert stats["run"]["count"] == stats["wait"]["count"] == 7
