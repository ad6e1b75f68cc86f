"""Random programs of submit, cancel, callbacks, results with timeouts and shutdowns, on both pools.

Programs on one held worker are deterministic: both pools must give the same log, word for word. Programs on several free
workers are not: there only what must always hold is checked.
"""

import concurrent.futures
import logging
import random
import threading
import time

import pytest
from support import STDLIB, Gate, eventually, start_thread
from support.implementations import TREADLE

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

LONG = 60.0

pytestmark = pytest.mark.filterwarnings("ignore")
relaxed = settings(
    deadline=None, suppress_health_check=list(HealthCheck), database=None, max_examples=300, derandomize=False
)


@pytest.fixture(autouse=True)
def quiet_log():
    logger = logging.getLogger("concurrent.futures")
    before, logger.disabled = logger.disabled, True
    yield
    logger.disabled = before


def outcome_of(future, timeout=None):
    """A description of what a future came to, comparable between implementations."""
    try:
        return ("result", future.result(timeout))
    except concurrent.futures.CancelledError:
        return ("cancelled",)
    except TimeoutError:
        return ("timeout",)
    except Exception as error:
        return (type(error).__name__, str(error))


# --- one held worker: the same log on both pools ----------------------------------------------------------------------

TASKS = ("value", "error", "exit", "submits", "cancels the next", "looks at itself")
CALLBACKS = ("notes", "notes", "raises", "submits", "cancels the last", "adds another")

operations = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(TASKS)),
    st.tuples(st.just("submit"), st.sampled_from(TASKS)),
    st.tuples(st.just("callback"), st.integers(0, 30), st.sampled_from(CALLBACKS)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("result"), st.integers(0, 30), st.sampled_from([0, -1, 0.0001])),
    st.tuples(st.just("state"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])),
    st.tuples(st.just("map"), st.integers(1, 4), st.booleans()),
    st.tuples(st.just("drain")),
    st.tuples(st.just("shutdown"), st.booleans()),
)


class HeldRun:
    """One program on one pool with one worker, which waits in a gate except during `drain`."""

    def __init__(self, impl):
        self.impl = impl
        self.pool = impl.ThreadPoolExecutor(1)
        self.futures = []
        self.submitting_callbacks = self.cancelled_by_shutdown = False
        self.log = []
        self.callbacks_added = self.callbacks_returned = 0
        self.hold()

    def hold(self):
        self.gate = Gate()
        try:
            self.held = self.pool.submit(self.gate.wait)
        except RuntimeError:
            return
        self.gate.until_entered()

    def note(self, *what):
        self.log.append(what)

    def submit(self, function, *args):
        try:
            self.futures.append(self.pool.submit(function, *args))
        except RuntimeError as error:
            self.note("refused", str(error))

    def pick(self, number):
        return number % len(self.futures) if self.futures else None

    def task(self, kind, number):
        self.note("ran", number)
        match kind:
            case "error":
                raise ValueError(number)
            case "exit":
                raise KeyError("exit", number)
            case "submits":
                self.submit(self.task, "value", -number)
            case "cancels the next":
                if number + 1 < len(self.futures):
                    self.note("cancelled by a task", self.futures[number + 1].cancel())
            case "looks at itself":
                return self.futures[number]._state, self.futures[number].cancel()
        return number

    def call(self, *what):
        try:
            self.callback(*what)
        finally:
            self.callbacks_returned += 1

    def settled(self):
        return all(future.done() for future in self.futures) and self.callbacks_returned == self.callbacks_added

    def callback(self, kind, number, future):
        self.note("callback", number, kind, future.done(), future.cancelled())
        match kind:
            case "raises":
                raise ValueError("from a callback")
            case "submits":
                self.submit(self.task, "value", 1000 + number)
            case "cancels the last":
                self.note("cancelled by a callback", self.futures[-1].cancel())
            case "adds another":
                future.add_done_callback(lambda done: self.note("nested", number, done.done()))

    def do_submit(self, kind):
        self.submit(self.task, kind, len(self.futures))

    def do_callback(self, number, kind):
        if (picked := self.pick(number)) is not None:
            self.submitting_callbacks |= kind == "submits"
            self.callbacks_added += 1
            self.futures[picked].add_done_callback(lambda future: self.call(kind, picked, future))

    def do_cancel(self, number):
        if (picked := self.pick(number)) is not None:
            self.note("cancel", picked, self.futures[picked].cancel())

    def do_result(self, number, timeout):
        if (picked := self.pick(number)) is not None:
            self.note("result", picked, outcome_of(self.futures[picked], timeout))

    def do_state(self, number):
        if (picked := self.pick(number)) is not None:
            future = self.futures[picked]
            self.note("state", future.running(), future.done(), future.cancelled())

    def do_wait(self, return_when):
        if self.cancelled_by_shutdown:
            return  # the standard pool's wait() takes those for unfinished
        done, not_done = self.impl.wait(self.futures, 0, return_when)
        self.note("wait", *(sorted(map(self.futures.index, part)) for part in (done, not_done)))

    def do_map(self, count, close):
        try:
            iterator = self.pool.map(lambda n: self.note("mapped", n), range(count), timeout=0)
        except RuntimeError as error:
            return self.note("map refused", str(error))
        try:
            next(iterator)
        except (TimeoutError, StopIteration) as error:
            self.note("map", type(error).__name__)
        if close:
            iterator.close()

    def do_drain(self):
        self.gate.open()
        assert self.held.result(LONG) is None
        # Not wait(): it never sees the end of what the standard pool's shutdown() has cancelled.
        assert eventually(self.settled), "futures or callbacks were lost"
        self.note("drained", [outcome_of(future) for future in self.futures])
        self.hold()

    def do_shutdown(self, cancel):
        # The standard pool calls callbacks of what it cancels with its lock held: one that submits would deadlock there.
        cancel = cancel and not self.submitting_callbacks
        self.pool.shutdown(wait=False, cancel_futures=cancel)
        self.cancelled_by_shutdown |= cancel
        self.note("shutdown", [future.cancelled() for future in self.futures])

    def finish(self):
        self.gate.open()
        self.pool.shutdown(wait=True)
        self.note("end", [outcome_of(future, 0) for future in self.futures])
        return self.log


def run_held(impl, program):
    run = HeldRun(impl)
    try:
        for name, *arguments in program:
            getattr(run, f"do_{name}")(*arguments)
    finally:
        log = run.finish()
    return log


@relaxed
@given(program=st.lists(operations, max_size=40))
def test_held_programs_leave_the_same_log_on_both_pools(native, program):
    assert run_held(TREADLE, program) == run_held(STDLIB, program)


# --- several free workers: what must always hold ----------------------------------------------------------------------

free_programs = st.fixed_dictionaries(
    {
        "workers": st.integers(1, 4),
        "submitters": st.integers(1, 3),
        "each": st.integers(0, 60),
        "cancel": st.sampled_from([0, 0.2, 0.8]),
        "resubmit": st.sampled_from([0, 0.3]),
        "raise": st.sampled_from([0, 0.3]),
        "timeout": st.sampled_from([None, 0, 0.0005]),
        "shutdown": st.sampled_from([None, (False, False), (True, False), (False, True), (True, True)]),
        "after": st.sampled_from([0, 0.0003, 0.003]),
        "seed": st.integers(0, 2**32),
    }
)


class FreeRun:
    """Several threads submit, cancel and wait on one pool while it may be shut down: everything is counted."""

    def __init__(self, impl, program):
        self.program = program
        self.pool = impl.ThreadPoolExecutor(program["workers"])
        self.lock = threading.Lock()
        self.accepted = {}  # future: number of callbacks that have run
        self.ran = set()
        self.ran_twice = []
        self.refused = 0
        self.numbers = iter(range(10**9))

    def task(self, number, fails):
        with self.lock:
            if number in self.ran:
                self.ran_twice.append(number)
            self.ran.add(number)
        if fails:
            raise ValueError(number)
        return number

    def submit(self, random_, depth):
        with self.lock:
            number = next(self.numbers)
        fails = random_.random() < self.program["raise"]
        again = depth and random_.random() < self.program["resubmit"]
        try:
            future = self.pool.submit(self.task, number, fails)
        except RuntimeError as error:
            assert str(error) == "cannot schedule new futures after shutdown"
            with self.lock:
                self.refused += 1
            return None
        future.number, future.fails = number, fails
        with self.lock:
            self.accepted[future] = 0
        seed = random_.random()
        future.add_done_callback(lambda done: self.called(done, again and random.Random(seed), depth))
        return future

    def called(self, future, random_, depth):
        with self.lock:
            self.accepted[future] += 1
        if random_:
            self.submit(random_, depth - 1)

    def submitter(self, seed):
        random_ = random.Random(seed)
        for _ in range(self.program["each"]):
            future = self.submit(random_, 2)
            if future is None:
                continue
            if random_.random() < self.program["cancel"]:
                future.cancel()
            if self.program["timeout"] is not None:
                outcome_of(future, self.program["timeout"])

    def run(self):
        threads = [start_thread(self.submitter, self.program["seed"] + n) for n in range(self.program["submitters"])]
        if self.program["shutdown"]:
            wait, cancel = self.program["shutdown"]
            time.sleep(self.program["after"])
            # The standard pool calls callbacks with its lock held when it cancels: none may submit then.
            self.pool.shutdown(wait=wait, cancel_futures=cancel and not self.program["resubmit"])
        for thread in threads:
            thread.join(LONG)
            assert thread.outcome == (None, None)
        self.settle()
        self.pool.shutdown()

    def settle(self):
        """Wait until every future is done, including those that callbacks submitted meanwhile."""
        while True:
            with self.lock:
                futures = list(self.accepted)
            # Not wait(): it never sees the end of what the standard pool's shutdown() has cancelled.
            assert eventually(lambda: all(future.done() for future in futures)), "futures were lost"
            if eventually(lambda: all(self.accepted[future] for future in futures)) and len(futures) == len(self.accepted):
                return

    def check(self):
        assert not self.ran_twice
        assert all(count == 1 for count in self.accepted.values())
        for future in self.accepted:
            outcome = outcome_of(future, 0)
            if future.number not in self.ran:
                assert outcome == ("cancelled",)
            elif future.fails:
                assert outcome == ("ValueError", str(future.number))
            else:
                assert outcome == ("result", future.number)
        assert self.ran <= {future.number for future in self.accepted}
        if hasattr(self.pool, "stats"):
            stats = self.pool.stats()
            assert (stats["queued"], stats["running"], stats["workers"]) == (0, 0, 0)


@settings(relaxed, max_examples=60)
@given(program=free_programs)
def test_free_programs_lose_nothing_and_run_nothing_twice(impl, program):
    run = FreeRun(impl, program)
    run.run()
    run.check()
