"""For every Python test: a hang is a failure, and the run says what it ran on."""

import faulthandler
import importlib.util
import os
import pathlib
import platform
import signal
import sys
import tempfile

import pytest

# the helpers in support/ are there for all
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

try:
    from _pytest.faulthandler import fault_handler_stderr_fd_key as real_stderr
except ImportError:  # pytest's own affair; without it the stacks go to the captured stderr
    real_stderr = None

# Seconds that one phase of a test may take: setup, call, teardown.  The slowest
# needs a fraction of it; 0 turns the watch off, for a debugger.
LIMIT = float(os.environ.get("TREADLE_TEST_TIMEOUT", "180"))
# Seconds that this may take itself before the process is killed from outside.
GRACE = float(os.environ.get("TREADLE_TEST_GRACE", "30"))


# What a shell runs in the background ignores SIGINT, what nohup runs ignores SIGHUP, and that is
# inherited: programs that tests interrupt would not notice.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

# The parts of a test's name that say that it runs on the standard library's own classes; treadle's are named, too, where it needs both.
STANDARD = {"stock", "stdlib", "asyncio's", "stdlib on stdlib futures"}


def pytest_addoption(parser):
    parser.addoption(
        "--without-standard",
        action="store_true",
        help="leave out the runs on the standard library's own classes, which only prove that a test demands no more than they do",
    )


    parser.addoption(
        "--one-poller",
        action="store_true",
        help="leave out the runs on loops that are told to use poll(2) in the place of epoll",
    )


def pytest_collection_modifyitems(config, items):
    unwanted = [
        check
        for option, check in (("without_standard", is_standard), ("one_poller", is_on_poll))
        if config.getoption(option)
    ]
    left_out = [item for item in items if any(check(item) for check in unwanted)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def is_standard(item):
    call = getattr(item, "callspec", None)
    return call is not None and "treadle" not in call.id and not STANDARD.isdisjoint(call.id.split("-"))


def is_on_poll(item):
    call = getattr(item, "callspec", None)
    return call is not None and "treadle-poll" in call.id


def load_minder():
    """support/minder.py alone: the package needs an extension that can be imported."""
    path = pathlib.Path(__file__).resolve().parent / "support" / "minder.py"
    spec = importlib.util.spec_from_file_location("treadle_minder", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


minder = load_minder()
# what the minder looks at, and the process that it minds
phases, minded = os.path.join(tempfile.gettempdir(), f"treadle-tests-{os.getpid()}"), os.getpid()


def stderr_of(config):
    return config.stash.get(real_stderr, 2) if real_stderr else 2


def pytest_sessionstart(session):
    if LIMIT > 0:
        # the watch comes first, and has stacks to show
        minder.start(minded, phases, LIMIT + GRACE, stderr_of(session.config))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    # from here to the end of the process nothing else would see a hang
    if LIMIT > 0 and minded == os.getpid():
        minder.begin(phases)


def watch(item):
    """End the run, with the stacks of all threads, unless called again in time."""
    if LIMIT > 0:
        faulthandler.dump_traceback_later(LIMIT, exit=True, file=stderr_of(item.config))
        minder.begin(phases)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    watch(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    watch(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    watch(item)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        if LIMIT > 0:
            minder.rest(phases)


def pytest_report_header():
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    build = f"{platform.python_implementation()} {platform.python_version()}, GIL {'on' if gil else 'off'}"
    return [f"{build}, {os.cpu_count()} CPUs", extension()]


def extension():
    try:
        from treadle import _native
    except ImportError as error:
        return f"treadle: not importable: {error}"
    return f"treadle: {_native.__file__}"
