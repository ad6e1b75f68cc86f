"""Random programs of handles and timers, against a model of what a loop has to do with them.

TREADLE_FUZZ_PROGRAMS sets how many programs there are, TREADLE_FUZZ_SEED which is the first.
"""

import asyncio
import os
import random
import threading

import pytest

PROGRAMS = int(os.environ.get("TREADLE_FUZZ_PROGRAMS", "45"))
SEED = int(os.environ.get("TREADLE_FUZZ_SEED", "1"))
STEPS = 40
# Deadlines come in classes far enough apart that the clock cannot mix them up.
PAST, SOON, FAR = -1.0, 0.01, 10_000.0


class Model:
    """What has been asked for, in the order in which it must happen.

    Ready callbacks run first in, first out. A timer in the past runs after what was ready when its turn began, and those of
    equal deadlines in whatever order; so of timers it is said which run, and that an earlier deadline never runs later."""

    def __init__(self):
        self.expected = {}  # key -> whether it has to run
        self.queued = []  # keys of call_soon(), in order

    def soon(self, key):
        self.expected[key] = True
        self.queued.append(key)

    def timer(self, key, due):
        self.expected[key] = due

    def cancelled(self, key):
        self.expected[key] = False


class Program:
    """A random program, run on a loop and noted in a model."""

    def __init__(self, loop, seed):
        self.loop = loop
        self.random = random.Random(seed)
        self.model = Model()
        self.handles = {}
        self.deadlines = {}
        self.ran = []
        self.steps = STEPS
        self.now = loop.time()
        self.classes = {PAST: self.now + PAST, SOON: self.now + SOON, FAR: self.now + FAR}

    def callback(self, key):
        assert key not in self.ran
        self.ran.append(key)
        handle = self.handles[key]
        assert not handle.cancelled()
        if self.random.random() < 0.2:
            handle.cancel()  # it is running: this changes nothing
        for _ in range(self.random.choice([0, 0, 1, 2, 3])):
            self.step()
        if self.random.random() < 0.05:
            self.loop.stop()
        if self.random.random() < 0.05:
            raise ValueError(key)

    def step(self):
        if self.steps == 0:
            return
        self.steps -= 1
        self.random.choice([self.call_soon, self.call_soon, self.call_at, self.call_later, self.cancel, self.from_thread])()

    def new_key(self):
        return len(self.handles)

    def call_soon(self):
        key = self.new_key()
        self.handles[key] = self.loop.call_soon(self.callback, key)
        self.model.soon(key)

    def from_thread(self):
        """Posted before the next step, but not ahead of what is ready in this turn."""
        key = self.new_key()

        def post():
            self.handles[key] = self.loop.call_soon_threadsafe(self.callback, key)

        thread = threading.Thread(target=post)
        thread.start()
        thread.join()
        self.model.expected[key] = True

    def call_at(self):
        key, kind = self.new_key(), self.random.choice([PAST, SOON, SOON, FAR])
        when = self.classes[kind]
        self.handles[key] = self.loop.call_at(when, self.callback, key)
        assert self.handles[key].when() == when
        self.deadlines[key] = when
        self.model.timer(key, kind != FAR)

    def call_later(self):
        key, kind = self.new_key(), self.random.choice([PAST, 0, FAR])
        before = self.loop.time()
        self.handles[key] = handle = self.loop.call_later(kind, self.callback, key)
        assert before + kind <= handle.when() <= self.loop.time() + kind
        self.deadlines[key] = handle.when()
        self.model.timer(key, kind != FAR)

    def cancel(self):
        if not self.handles:
            return
        key = self.random.choice(sorted(self.handles))
        for _ in range(self.random.choice([1, 1, 2])):
            self.handles[key].cancel()
        assert self.handles[key].cancelled()
        if key not in self.ran:
            self.model.cancelled(key)

    def run(self):
        self.step()
        while self.steps:
            self.step()
            if self.random.random() < 0.1:
                self.turn()
        last = self.loop.call_at(self.classes[SOON], lambda: None)
        while any(due and key not in self.ran for key, due in self.model.expected.items()):
            assert self.loop.time() < self.now + 20, "something is lost"
            self.turn()
        last.cancel()

    def turn(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def check(self):
        expected = self.model.expected
        assert sorted(self.ran) == sorted(key for key, due in expected.items() if due)
        assert len(set(self.ran)) == len(self.ran)
        place = {key: n for n, key in enumerate(self.ran)}
        queued = [place[key] for key in self.model.queued if key in place]
        assert queued == sorted(queued), "call_soon() is first in, first out"
        for handle in self.handles.values():
            handle.cancel()


def run_program(loop, seed):
    errors = []
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    program = Program(loop, seed)
    program.run()
    program.check()
    assert all(type(error) is ValueError for error in errors), errors
    assert {error.args[0] for error in errors} <= set(program.ran)
    return program


@pytest.mark.parametrize("part", range(3))
def test_random_programs(loop, part):
    for seed in range(SEED + part, SEED + PROGRAMS, 3):
        try:
            run_program(loop, seed)
        except BaseException as error:
            error.add_note(f"TREADLE_FUZZ_SEED={seed} TREADLE_FUZZ_PROGRAMS=1")
            raise


def timers_of(loop, seed):
    """Random timers set before the loop runs, many with equal deadlines, some cancelled: in which order they run."""
    choose = random.Random(seed)
    now, ran, handles = loop.time(), [], {}
    for key in range(200):
        when = now - choose.randrange(1, 20)
        handles[key] = (when, loop.call_at(when, ran.append, key))
    for key in choose.sample(range(200), 120):
        handles.pop(key)[1].cancel()
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    return ran, handles


@pytest.mark.parametrize("seed", range(20))
def test_timers_run_by_deadline(loop, seed):
    ran, handles = timers_of(loop, seed)
    assert sorted(ran) == sorted(handles)
    deadlines = [handles[key][0] for key in ran]
    assert deadlines == sorted(deadlines)


@pytest.mark.parametrize("seed", range(20))
def test_order_without_threads_is_that_of_asyncio(factory, seed):
    """The same program, of call_soon() and cancel() and distinct timers, does the same on both loops."""
    assert trace(factory(), seed) == trace(asyncio.SelectorEventLoop(), seed)


def trace(loop, seed):
    choose, ran, handles = random.Random(seed), [], []
    base = loop.time() - 1000

    def callback(key):
        ran.append(key)
        for _ in range(choose.choice([0, 1, 1, 2])):
            if len(handles) < 300:
                act()

    def act():
        key = len(handles)
        kind = choose.random()
        if kind < 0.5:
            handles.append(loop.call_soon(callback, key))
        elif kind < 0.8:
            # distinct deadlines: asyncio promises no order among equal ones
            handles.append(loop.call_at(base + choose.randrange(100) + key / 1000, callback, key))
        else:
            choose.choice(handles).cancel() if handles else None

    try:
        for _ in range(100):
            act()
        for _ in range(300):
            loop.call_soon(loop.stop)
            loop.run_forever()
    finally:
        loop.close()
    return ran
