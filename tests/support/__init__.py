"""What the Python tests share: the implementations they run on, waiting without sleeping, scripts in other processes."""

from support.implementations import IMPLEMENTATIONS, STDLIB, Implementation
from support.scripts import run_script, script_environment
from support.waiting import Gate, dies, eventually, outcomes, start_thread, threads_named

__all__ = [
    "IMPLEMENTATIONS",
    "STDLIB",
    "Gate",
    "Implementation",
    "dies",
    "eventually",
    "outcomes",
    "run_script",
    "script_environment",
    "start_thread",
    "threads_named",
]
