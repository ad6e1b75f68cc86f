"""Whether two threads can be seen to run at once here."""

from __future__ import annotations

from treadle._demo.machine import free_threaded_build, gil_enabled, usable_cores


def why_no_second() -> str | None:
    """Why nothing can run on a second core; None if it can."""
    return None if usable_cores() >= 2 else "needs two cores"


def why_no_python_on_second() -> str | None:
    """Why no two threads can run Python code at once; None if they can."""
    if not free_threaded_build():
        return "needs a free-threaded interpreter"
    return "the GIL is switched on" if gil_enabled() else why_no_second()
