"""Future: states, results, callbacks, text; the same on the standard library's class and on ours."""

import concurrent.futures
import gc
import pickle
import re
import types
import weakref
from concurrent.futures import _base

import pytest
from support.futures import future_in


def test_is_a_standard_future(impl):
    assert issubclass(impl.Future, concurrent.futures.Future)
    assert isinstance(impl.Future(), concurrent.futures.Future)
    assert impl.Future.__name__ == "Future"


def test_fresh_future(impl):
    future = impl.Future()
    assert (future._state, future._result, future._exception) == (_base.PENDING, None, None)
    assert not future.done() and not future.running() and not future.cancelled()


def test_constructor_takes_no_arguments(impl):
    with pytest.raises(TypeError):
        impl.Future(1)
    with pytest.raises(TypeError):
        impl.Future(result=1)


def test_generic_alias(impl):
    alias = impl.Future[int]
    assert isinstance(alias, types.GenericAlias)
    assert alias.__origin__ is impl.Future and alias.__args__ == (int,)
    assert isinstance(alias(), impl.Future)


def test_weak_reference(impl):
    seen = []
    future = impl.Future()
    reference = weakref.ref(future, seen.append)
    assert reference() is future
    del future
    assert reference() is None and seen == [reference]


def test_hash_and_equality_are_identity(impl):
    one, two = impl.Future(), impl.Future()
    assert one != two and len({one, two, one}) == 2


def test_arbitrary_attributes(impl):
    future = impl.Future()
    future.job_id = 7
    assert future.job_id == 7 and vars(future)["job_id"] == 7
    with pytest.raises(AttributeError):
        future.no_such_attribute


def test_cannot_be_pickled(impl):
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(impl.Future())


def test_repr(impl):
    cases = [
        (future_in(impl, _base.PENDING), "pending"),
        (future_in(impl, _base.RUNNING), "running"),
        (future_in(impl, _base.CANCELLED), "cancelled"),
        (future_in(impl, _base.CANCELLED_AND_NOTIFIED), "cancelled"),
        (future_in(impl, _base.FINISHED, result=42), "finished returned int"),
        (future_in(impl, _base.FINISHED), "finished returned NoneType"),
        (future_in(impl, _base.FINISHED, exception=OSError()), "finished raised OSError"),
    ]
    for future, text in cases:
        assert repr(future) == str(future) == f"<Future at {id(future):#x} state={text}>"


def test_repr_names_the_subclass(impl):
    class Job(impl.Future):
        pass

    job = Job()
    assert repr(job) == f"<Job at {id(job):#x} state=pending>"


def test_long_chain_of_futures_as_results_is_freed(impl):
    future = None
    for _ in range(100_000):
        outer = impl.Future()
        outer.set_result(future)
        future = outer
    del future, outer  # freeing one after the other must not use up the stack


def test_long_cycle_of_futures_is_collected(impl):
    first = future = impl.Future()
    for _ in range(50_000):
        outer = impl.Future()
        outer.set_result(future)
        future = outer
    first.set_result(future)
    reference = weakref.ref(first)
    del first, future, outer
    gc.collect()
    assert reference() is None


def test_subclass_with_its_own_constructor_and_attributes(impl):
    class Job(impl.Future):
        def __init__(self, name, *, retries):
            super().__init__()
            self.name, self.retries = name, retries

        def done_name(self):
            return f"{self.name}:{self.done()}"

    job = Job("a", retries=2)
    job.set_result(1)
    assert (job.name, job.retries, job.result(), job.done_name()) == ("a", 2, 1, "a:True")
    assert isinstance(job, concurrent.futures.Future)


def test_subclass_with_a_mixin_and_slots(impl):
    class Mixin:
        def twice(self):
            return self.result() * 2

    class Job(Mixin, impl.Future):
        __slots__ = ("extra",)

    job = Job()
    job.extra = 1
    job.set_result(21)
    assert job.twice() == 42


def test_overridden_methods_are_used_by_callers(impl):
    class Loud(impl.Future):
        def set_result(self, result):
            super().set_result(result * 10)

        def result(self, timeout=None):
            return super().result(timeout) + 1

    loud = Loud()
    loud.set_result(4)
    assert loud.result() == 41 and _base.Future.result(loud) == 40


def test_unbound_standard_methods_work(impl):
    # Code that calls the base class's methods directly must see and change the same state.
    future, standard = impl.Future(), concurrent.futures.Future
    assert not standard.done(future) and standard.set_running_or_notify_cancel(future)
    assert future.running()
    standard.set_result(future, 3)
    assert future.result(0) == 3 == standard.result(future)
    assert re.search("finished returned int", standard.__repr__(future))


def test_constructor_can_be_called_again(impl):
    future = impl.Future()
    future.set_result(1)
    future.__init__()
    assert future._state == _base.PENDING and future._result is None and not future.done()
    future.set_result(2)
    assert future.result() == 2


def test_made_without_constructor_then_initialised(impl):
    future = impl.Future.__new__(impl.Future)
    impl.Future.__init__(future)
    future.set_result(1)
    assert future.result() == 1
