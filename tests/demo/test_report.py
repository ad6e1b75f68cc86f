"""The parts of the demo that words and figures go through."""

from __future__ import annotations

import contextlib
import io

import pytest
from treadle._demo import machine, report
from treadle._demo.progress import Progress
from treadle._demo.section import Role, Section, Side, first_difference, run_section


def section_of(*sides: Side) -> Section:
    return Section("key", "a job", 2, 3, lambda: contextlib.nullcontext(sides))


def quiet() -> Progress:
    return Progress(io.StringIO(), enabled=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (5.0, "5.00 s"), (0.25, "250 ms"), (0.0999, "99.9 ms"), (12.3e-6, "12.3 us")],
)
def test_seconds(value: float | None, text: str) -> None:
    assert report.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (18.44, "18.4x"), (1.0, "1.00x"), (0.00721, "0.0072x")]
)
def test_factor(value: float | None, text: str) -> None:
    assert report.factor(value) == text


def test_aligned_columns() -> None:
    assert report.aligned([("name", "n"), ("x", "100")]).splitlines() == [
        "name    n",
        "----  ---",
        "x     100",
    ]


@pytest.mark.parametrize(
    ("got", "words"),
    [([1, 2], None), ([1], "1 results instead of 2"), ([1, 3], "result 1 is 3 instead of 2")],
)
def test_first_difference(got: list[int], words: str | None) -> None:
    assert first_difference([1, 2], got) == words


def test_rounds_are_interleaved_and_a_side_marked_once_runs_once() -> None:
    ran: list[Role] = []

    def side(role: Role, *, once: bool = False) -> Side:
        return Side(role, lambda tick: ran.append(role) or [], once)

    sides = side(Role.ALONE, once=True), side(Role.STANDARD), side(Role.TREADLE)
    outcome = run_section(section_of(*sides), 2, quiet())
    first = [Role.ALONE, Role.STANDARD, Role.TREADLE]
    assert ran == [*first, Role.STANDARD, Role.TREADLE]
    assert {role: len(times) for role, times in outcome.seconds.items()} == {
        Role.ALONE: 1,
        Role.STANDARD: 2,
        Role.TREADLE: 2,
    }


def test_a_difference_in_a_later_round_counts() -> None:
    answers = iter([[1], [2]])
    sides = (
        Side(Role.ALONE, lambda tick: [1], once=True),
        Side(Role.TREADLE, lambda tick: next(answers)),
    )
    outcome = run_section(section_of(*sides), 2, quiet())
    assert outcome.difference == "treadle differs from one by one: result 0 is 2 instead of 1"


def test_best_and_speedup() -> None:
    outcome = run_section(section_of(Side(Role.TREADLE, lambda tick: [])), 1, quiet())
    outcome.seconds = {Role.STANDARD: [3.0, 2.0], Role.TREADLE: [0.5, 1.0]}
    assert outcome.best(Role.STANDARD) == 2.0
    assert outcome.speedup(Role.STANDARD) == 4.0
    assert outcome.speedup(Role.ALONE) is None


def test_progress_counts_on_a_terminal_only() -> None:
    stream = io.StringIO()
    progress = Progress(stream, enabled=True)
    progress.stage("fetching", 2)
    progress.clear()
    assert "fetching  0/2" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")
    silent = io.StringIO()
    Progress(silent).stage("fetching", 2)
    assert silent.getvalue() == ""


def test_machine_and_interpreter_say_what_they_are() -> None:
    import platform
    import sys

    assert machine.machine().cores == machine.usable_cores() >= 1
    assert platform.release() in machine.machine().line()
    found = machine.interpreter()
    assert found.version == platform.python_version()
    assert found.tag.startswith(f"cp{sys.version_info[0]}{sys.version_info[1]}")
    assert found.tag.endswith("t") == machine.free_threaded_build()
