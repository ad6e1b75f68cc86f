"""CPython's own tests of asyncio, with the loop under test wherever they make one.

install() has to be called before any of the modules is imported: some take the loop's class at import.
"""

import asyncio
import contextlib
import importlib
import importlib.util
import re
import sys
import unittest
from asyncio import base_events, futures, tasks, unix_events

PACKAGE = "test.test_asyncio"

# Modules that are run as they are, and the first version that has them.
MODULES = {
    "context": (3, 11),
    "eager_task_factory": (3, 12),
    "free_threading": (3, 14),
    "futures": (3, 11),
    "graph": (3, 14),
    "locks": (3, 11),
    "pep492": (3, 11),
    "queues": (3, 11),
    "runners": (3, 11),
    "server": (3, 11),
    "server_context": (3, 15),
    "ssl": (3, 11),
    "sslproto": (3, 11),
    "staggered": (3, 13),
    "streams": (3, 11),
    "subprocess": (3, 11),
    "tasks": (3, 11),
    "taskgroups": (3, 11),
    "threads": (3, 11),
    "timeouts": (3, 11),
    "unix_events": (3, 11),
    "waitfor": (3, 11),
}

# The functions that are treadle's in own_tasks, and the tests of them.
FUNCTIONS = ("as_completed", "gather", "shield", "wait", "wait_for")
OF_FUNCTIONS = re.compile("(?i)as_completed|gather|shield|_wait")

# Modules that are run once more with treadle's classes or functions in the place of asyncio's, and those.
SWAPPED = {
    "own_locks": ("locks", ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore")),
    "own_queues": ("queues", ("LifoQueue", "PriorityQueue", "Queue", "QueueShutDown")),
    "own_tasks": ("tasks", FUNCTIONS),
    "own_taskgroups": ("taskgroups", ("TaskGroup", "sleep")),
    "own_timeouts": ("timeouts", ("Timeout", "sleep", "timeout", "timeout_at")),
    "own_waitfor": ("waitfor", FUNCTIONS),
}

# Tests of tasks and futures come in variants; those of the classes written in Python make no difference to a loop.
VARIANTS = re.compile("PyTask|PyFuture")

# These are run once more with treadle's classes in place of those that asyncio has in C; the rest of a module does not
# depend on them.
NATIVE = {"native_futures": "futures", "native_tasks": "tasks"}
IN_C = re.compile("C(Sub)?(Task|Future|Introspection)|CurrentLoop")

# These make loops of the suite's own, whose clock a test may turn. Most tests do not: they get the loop under test.
CLOCKED = ("futures", "tasks")

# The tests of these modules are mixins that ask for a loop by one of two methods, which make_class() supplies.
# Their own concrete classes make a stock loop for each kind of selector.
MIXINS = {
    "buffered_proto": ("BaseTestBufferedProtocol",),
    # The first was renamed.
    "events": (("UnixEventLoopTestsMixin", "EventLoopTestsMixin"), "SubprocessTestsMixin"),
    "sendfile": ("SendfileTestsBase",),
    "sock_lowlevel": ("BaseSockTestsMixin",),
}


class Count:
    """How many loops were made: of the class under test, and of others."""

    def __init__(self):
        self.ours = 0
        self.others = 0


def count_instances(loop_class):
    """Count what is made from now on, in this process."""
    counter = Count()
    original = base_events.BaseEventLoop.__init__

    def counting(self, *args, **kwargs):
        if isinstance(self, loop_class):
            counter.ours += 1
        else:
            counter.others += 1
        original(self, *args, **kwargs)

    base_events.BaseEventLoop.__init__ = counting
    return counter


def install(loop_class):
    """Put `loop_class` where programs and tests find a loop to make."""
    policies = [each for each in vars(unix_events).values() if hasattr(each, "_loop_factory")]
    for policy in policies:
        policy._loop_factory = loop_class
    for module in (asyncio, unix_events):
        module.SelectorEventLoop = loop_class
        if hasattr(module, "EventLoop"):
            module.EventLoop = loop_class
    # Some tests make the abstract part of the stock loop and mock the rest: they get a whole one.
    asyncio.BaseEventLoop = loop_class
    loop = asyncio.new_event_loop()
    loop.close()
    if not policies or type(loop) is not loop_class:
        raise SystemExit(f"asyncio.new_event_loop() does not make a {loop_class.__module__}.{loop_class.__qualname__}")


def available(native):
    """The names of the suites that this version has, and of those for native classes if there are such."""
    return sorted(
        [name for name, since in MODULES.items() if sys.version_info >= since]
        + [*MIXINS, *SWAPPED]
        + [*(NATIVE if native else [])]
    )


def load(name, loop_class, native=None):
    """{test id: (class, method)} of one suite. Ids are module.Class.method. `native` are the classes of task and future."""
    if name in NATIVE:
        classes = native_classes(name, *native)
    else:
        origin = SWAPPED[name][0] if name in SWAPPED else name
        module = importlib.import_module(f"{PACKAGE}.test_{origin}")
        classes = [make_class(module, MIXINS[name], loop_class)] if name in MIXINS else classes_of(module)
    if name in SWAPPED:
        classes = [swap(cls, *SWAPPED[name]) for cls in classes]
    if NATIVE.get(name, name) in CLOCKED or name == "own_tasks":
        for cls in classes:
            if hasattr(cls, "new_test_loop"):
                replace_test_loop(cls, loop_class)
    names = unittest.defaultTestLoader.getTestCaseNames
    tests = {f"test_{name}.{cls.__name__}.{test}": (cls, test) for cls in classes for test in names(cls)}
    if name == "own_tasks":
        return {test: found for test, found in tests.items() if OF_FUNCTIONS.search(test)}
    return tests


def swap(cls, origin, names):
    """A test case that has treadle's things of those names; its process ends with its test, so nothing is put back."""

    def set_up_class(swapped):
        import treadle
        from treadle import _functions

        ours = {name: getattr(_functions if name in FUNCTIONS else treadle, name) for name in names}
        own = importlib.import_module("asyncio.tasks" if origin == "waitfor" else f"asyncio.{origin}")
        for module in asyncio, tasks, own:
            for name in names:
                if hasattr(module, name):
                    setattr(module, name, ours[name])
        super(swapped, swapped).setUpClass()

    return type(cls.__name__, (cls,), {"setUpClass": classmethod(set_up_class), "__module__": cls.__module__})


@contextlib.contextmanager
def in_place_of_c(task, future):
    """Have asyncio's modules say that its C classes are these."""
    before = tasks._CTask, futures._CFuture
    tasks._CTask, futures._CFuture = task, future
    try:
        yield
    finally:
        tasks._CTask, futures._CFuture = before


def native_classes(name, task, future):
    """The test cases of a module's second copy, imported with asyncio's C classes replaced; each is run so, too."""
    found = importlib.util.find_spec(f"{PACKAGE}.test_{NATIVE[name]}")
    spec = importlib.util.spec_from_file_location(f"{PACKAGE}.test_{name}", found.origin)
    module = importlib.util.module_from_spec(spec)
    with in_place_of_c(task, future):
        spec.loader.exec_module(module)
    classes = [cls for cls in classes_of(module) if IN_C.search(cls.__name__)]
    for cls in classes:
        run_in_place_of_c(cls, task, future)
    return classes


def run_in_place_of_c(cls, task, future):
    original = cls.run

    def run(self, result=None):
        with in_place_of_c(task, future):
            return original(self, result)

    cls.run = run


def replace_test_loop(cls, loop_class):
    """Give the class loops of the one under test in place of the suite's own, but for tests that turn its clock."""
    original = cls.new_test_loop

    def new_test_loop(self, gen=None):
        if gen is not None:
            return original(self, gen)
        loop = loop_class()
        self.set_event_loop(loop)
        return loop

    cls.new_test_loop = new_test_loop


def classes_of(module):
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, unittest.TestCase)]
    own = (cls for cls in found if cls.__module__ == module.__name__ and not VARIANTS.search(cls.__name__))
    return sorted(own, key=lambda cls: cls.__name__)


def make_class(module, mixins, loop_class):
    """A test case of the mixins that are there, in the module, whose set-up and tear-down then apply to it."""
    from test.test_asyncio import utils

    found = []
    for names in mixins:
        there = [getattr(module, name) for name in ([names] if isinstance(names, str) else names) if hasattr(module, name)]
        found += there[:1]
    base = unittest.TestCase if any(hasattr(mixin, "new_loop") for mixin in found) else utils.TestCase

    def create(self):
        return loop_class()

    return type("Tests", (*found, base), {"create_event_loop": create, "new_loop": create, "__module__": module.__name__})
