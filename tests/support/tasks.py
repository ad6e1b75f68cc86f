"""Tasks for pools."""

import time

LONG = 60.0


class Failure(Exception):
    pass


def fail(*arguments):
    raise Failure(*arguments)


def echo(*args, **kwargs):
    return args, kwargs


def processor_seconds(function):
    """Processor time of this process while `function` runs."""
    before = time.process_time()
    function()
    return time.process_time() - before
