"""Put treadle's classes in place of the standard library's before anything else is imported.

This directory is put on PYTHONPATH by tests/conformance/run.py, so that `site` imports this module in the test process and
in every interpreter that a test starts. Environment variables steer it:

TREADLE_CONFORMANCE        "treadle" swaps the classes, "stock" leaves them alone; unset, this module does nothing.
TREADLE_CONFORMANCE_AREA   "processes" swaps the process pools as well.
TREADLE_CONFORMANCE_SUITE  a standard library directory whose test/test_concurrent_futures is to be used, for
                           interpreters that ship without that package.
"""

import os


def swap_classes():
    """Replace the thread executor, the future, `wait` and `as_completed` where users and the suite look them up."""
    import concurrent.futures as futures
    from concurrent.futures import _base, process, thread

    try:
        # Its executor derives from ThreadPoolExecutor: it must be built on the real one.
        from concurrent.futures import interpreter
    except ImportError:
        interpreter = None

    import treadle

    futures.ThreadPoolExecutor = thread.ThreadPoolExecutor = treadle.ThreadPoolExecutor
    for name in ("Future", "wait", "as_completed"):
        setattr(_base, name, getattr(treadle, name))
        setattr(futures, name, getattr(treadle, name))
    if os.environ.get("TREADLE_CONFORMANCE_AREA") == "processes":
        import multiprocessing.pool

        futures.ProcessPoolExecutor = process.ProcessPoolExecutor = treadle.ProcessPoolExecutor
        multiprocessing.pool.Pool = treadle.Pool
    return process, interpreter


def borrow_suite(directory):
    """Make `test.test_concurrent_futures` come from the standard library in `directory`."""
    import test

    if os.path.isdir(os.path.join(test.__path__[0], "test_concurrent_futures")):
        raise RuntimeError("this interpreter has its own test.test_concurrent_futures: nothing to borrow")
    test.__path__.append(os.path.join(directory, "test"))
    # workers that do not inherit this import the suite's modules for themselves
    from adapting import adapt_support

    adapt_support()


_mode = os.environ.get("TREADLE_CONFORMANCE")
if _mode == "treadle":
    swap_classes()
elif _mode not in (None, "stock"):
    raise RuntimeError(f"TREADLE_CONFORMANCE={_mode!r}: expected 'treadle' or 'stock'")
if _mode and os.environ.get("TREADLE_CONFORMANCE_SUITE"):
    borrow_suite(os.environ["TREADLE_CONFORMANCE_SUITE"])
