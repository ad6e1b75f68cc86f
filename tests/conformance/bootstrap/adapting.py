"""An older `test.support` for a newer suite: in the test process, and where the suite is borrowed in all that it starts."""

import inspect
import os
import unittest


def sanitizer_check(original):
    """check_sanitizer() that accepts `thread`, which older versions do not know: they never run under TSan."""
    if "thread" in inspect.signature(original).parameters:
        return original
    return lambda *, thread=False, **others: any(others.values()) and original(**others)


def sanitizer_skip(check):
    def skip_if_sanitizer(reason="not working with sanitizers active", **sanitizers):
        return unittest.skipIf(check(**sanitizers), reason)

    return skip_if_sanitizer


def adapt_support():
    """Give an older test.support what a newer suite expects of it."""
    from test import support
    from test.support import script_helper

    support.check_sanitizer = sanitizer_check(support.check_sanitizer)
    support.skip_if_sanitizer = sanitizer_skip(support.check_sanitizer)
    # Interpreters started by tests must read PYTHONPATH, so that the swap happens there too (no -I, no -E).
    script_helper.interpreter_requires_environment = lambda: True
    if not hasattr(support, "Py_GIL_DISABLED"):
        support.Py_GIL_DISABLED = False
    if not hasattr(support, "requires_gil_enabled"):
        support.requires_gil_enabled = lambda reason: lambda function: function
    if not hasattr(os, "process_cpu_count"):
        # What these versions' executors use for the default number of workers.
        os.process_cpu_count = os.cpu_count
