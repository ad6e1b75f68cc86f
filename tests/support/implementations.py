"""The standard library's classes and treadle's, side by side, so that one test body runs on both."""

import concurrent.futures
import dataclasses
import types

import pytest
import treadle


@dataclasses.dataclass(frozen=True)
class Implementation:
    """A source of `Future`, `ThreadPoolExecutor`, `wait` and `as_completed`, and the module a script imports them from."""

    name: str
    module: types.ModuleType

    def __getattr__(self, name):
        return getattr(self.module, name)

    @property
    def native(self):
        return self.name == "treadle"


STDLIB = Implementation("stdlib", concurrent.futures)
TREADLE = Implementation("treadle", treadle)
IMPLEMENTATIONS = [pytest.param(each, id=each.name) for each in (STDLIB, TREADLE)]
