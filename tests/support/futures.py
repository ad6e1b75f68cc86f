"""Futures for tests."""


def future_in(impl, state, result=None, exception=None):
    """A future brought into `state` by assignment, as test suites and other executors do."""
    future = impl.Future()
    future._state = state
    future._result = result
    future._exception = exception
    return future
