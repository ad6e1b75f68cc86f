"""The benchmark harness: order of rounds, arithmetic, verdicts, and what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PATIENCE = 300


def row_of(bench, baseline, subject, **options):
    """A row whose sides give these costs, one a round."""
    first, second = iter(baseline), iter(subject)
    sides = {
        "baseline": bench.harness.Side("old", lambda: bench.harness.Sample(next(first), 0.5)),
        "subject": bench.harness.Side("new", lambda: bench.harness.Sample(next(second))),
    }
    return bench.harness.Row(**{"key": "row", "title": "a row", "target": 4.0, **sides, **options})


def measured(bench, baseline, subject, **options):
    row = row_of(bench, baseline, subject, **options)
    return bench.harness.measure(row, len(baseline), lambda text: None)


def test_rounds_are_interleaved_and_noted(bench) -> None:
    notes: list[str] = []
    bench.harness.measure(row_of(bench, [1, 1], [1, 1]), 2, notes.append)
    assert notes == [
        "row: old, round 1 of 2",
        "row: new, round 1 of 2",
        "row: old, round 2 of 2",
        "row: new, round 2 of 2",
    ]


def test_the_best_of_each_side_counts(bench) -> None:
    result = measured(bench, [9.0, 8.0, 10.0], [3.0, 2.5, 2.0])
    assert result.ratio == 4.0
    assert bench.harness.median(result.of(result.row.baseline)) == 9.0


@pytest.mark.parametrize(
    ("subject", "tolerance", "word"),
    [(2.0, 0.0, "met"), (2.1, 0.0, "short"), (2.1, 0.05, "met"), (2.2, 0.05, "short")],
)
def test_verdict(bench, subject: float, tolerance: float, word: str) -> None:
    result = measured(bench, [8.0], [subject], tolerance=tolerance)
    assert bench.report.verdict(result) == word
    assert result.met is (word == "met")


def test_a_row_that_is_unavailable_is_not_run(bench) -> None:
    result = measured(bench, [], [], unavailable="no second core")
    assert (result.ratio, result.met) == (None, None)
    assert bench.report.verdict(result) == "n/a"
    assert "n/a row: no second core" in bench.report.table([result])


def test_stopwatch_divides_by_tasks_and_tells_wall_from_cpu(bench) -> None:
    with bench.harness.Stopwatch(10) as watch:
        time.sleep(0.05)
    sample = watch.sample()
    assert 0.005 <= sample.cost < 0.05
    assert sample.cpu < sample.cost / 2


def side(bench, name: str, *costs: float):
    """A side that gives these costs, and then cannot go on."""
    left = list(costs)

    def run():
        if not left:
            raise bench.harness.Unable("nothing left")
        return bench.harness.Sample(left.pop(0), wall=2.0)

    return bench.harness.Side(name, run)


def wide_row(bench, subject, peers, **options):
    first, *others = peers
    common = {"key": "row", "title": "a row", "target": 4.0, **options}
    return bench.harness.Row(baseline=first, subject=subject, peers=tuple(others), **common)


def test_the_cheapest_of_several_baselines_counts(bench) -> None:
    peers = (side(bench, "a", 9.0), side(bench, "b", 6.0), side(bench, "c", 7.0))
    result = bench.harness.measure(wide_row(bench, side(bench, "s", 1.0), peers), 1, print)
    assert (result.rival.name, result.ratio, result.met) == ("b", 6.0, True)


def test_a_peer_that_fails_once_is_out(bench) -> None:
    peers = (side(bench, "a", 8.0, 8.0), side(bench, "b", 1.0))
    result = bench.harness.measure(wide_row(bench, side(bench, "s", 2.0, 2.0), peers), 2, print)
    assert (result.rival.name, result.ratio) == ("a", 4.0)
    text = bench.report.table([result])
    assert "failed row, b: nothing left" in text
    assert text.splitlines()[2].split()[:7] == ["a", "row", "8.00", "s", "missing", "2.00", "s"]


def test_a_subject_that_fails_is_short(bench) -> None:
    row = wide_row(bench, side(bench, "s"), (side(bench, "a", 8.0), side(bench, "b", 1.0)))
    result = bench.harness.measure(row, 1, print)
    assert (result.ratio, result.met, bench.report.verdict(result)) == (None, False, "short")


@pytest.mark.parametrize(
    ("floor", "allowance", "met"),
    [(1.0, 0.0, True), (0.9, 0.0, False), (0.95, 0.1, True), (0.5, None, True)],
)
def test_a_lower_bound_may_be_missed_by_so_much(bench, floor, allowance, met) -> None:
    row = wide_row(
        bench,
        side(bench, "s", 1.0),
        (side(bench, "a", 4.0), side(bench, "b", 5.0)),
        floor=side(bench, "C", floor),
        allowance=allowance,
    )
    result = bench.harness.measure(row, 1, print)
    assert (result.ratio, result.met) == (4.0, met)
    assert result.over_floor == pytest.approx(1 / floor - 1)
    assert bench.units.cost(floor, row.unit) in bench.report.table([result])


def test_sides_left_out_do_not_run_and_are_not_missed(bench) -> None:
    peers = (side(bench, "a", 8.0), side(bench, "b"))
    row = wide_row(bench, side(bench, "s", 2.0), peers).only(["a", "s*"])
    result = bench.harness.measure(row, 1, print)
    assert (result.ratio, result.failures) == (4.0, {})
    header, _, line, *rest = bench.report.table([result]).splitlines()
    assert header.split()[:3] == ["row", "a", "s"] and "b" not in line.split()
    assert not any("asked" in text for text in rest)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.234e-6, "s", "1.23 us"),
        (0.0123, "s", "12.3 ms"),
        (0.0, "s", "0.00 ns"),
        (512, "B", "512 B"),
        (2048, "B", "2.00 KiB"),
    ],
)
def test_cost_in_words(bench, value: float, unit: str, text: str) -> None:
    assert bench.units.cost(value, bench.units.Unit(unit)) == text


def test_table_and_document(bench, tmp_path: Path) -> None:
    results = [measured(bench, [8e-6, 9e-6], [2e-6, 3e-6])]
    text = bench.report.table(results)
    assert text.splitlines()[2].split() == [
        *("a", "row", "old", "8.00", "us", "500", "ms", "new", "2.00", "us", "-"),
        *("4.00x", "4x", "met"),
    ]
    data = bench.report.document("area", "command", 2, 0.25, {"other": "1.0"}, results)
    table_file, json_file = bench.report.write(tmp_path, "area-x", text, data)
    assert table_file.read_text() == text + "\n"
    document = json.loads(json_file.read_text())
    assert {"machine", "interpreter", "date", "command", "rounds", "load", "treadle"} <= set(
        document
    )
    (row,) = document["rows"]
    assert row["baseline"]["samples"] == [8e-6, 9e-6]
    assert (row["ratio"], row["verdict"], row["target"]) == (4.0, "met", 4.0)


def test_plot_is_drawn(bench, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    picture = tmp_path / "plot.svg"
    missing = measured(bench, [], [], unavailable="no second core")
    assert bench.plot.draw([measured(bench, [8.0], [2.0]), missing], "title", picture)
    assert "4.00x" in picture.read_text()
    assert not bench.plot.draw([missing], "title", tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


def test_the_thread_rows_are_those_promised(bench) -> None:
    targets = {row.key: row.target for row in bench.bench_threads.rows(quick=False)}
    assert targets == {
        "submit-result": 4,
        "burst-wait": 6,
        "burst-results": 15,
        "as-completed": 4,
        "map": 30,
        "run-in-executor": 2,
        "gather": 2.5,
        "sleeps": 1,
        "cpu-map": 1.8,
        "native": 1.9,
        "memory": 2,
    }


def test_every_thread_row_runs(bench) -> None:
    for row in bench.bench_threads.rows(quick=True):
        result = bench.harness.measure(row, 1, lambda text: None)
        if row.unavailable is None:
            assert result.ratio > 0, row.key
        else:
            assert result.ratio is None, row.key


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_command_keeps_results_where_told(bench, tmp_path: Path) -> None:
    done = run_benchmarks(
        "threads", "--quick", "--rounds", "1", "--rows", "sl*", "--output", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 sleeps of 1 ms" in done.stdout and "submit(noop)" not in done.stdout
    (json_file,) = tmp_path.glob("threads-cp3*.json")
    (row,) = json.loads(json_file.read_text())["rows"]
    assert row["key"] == "sleeps"
    assert row["baseline"]["best"] >= 0.001 / 4  # four at a time, none shorter than asked


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cannot choose a core here")
def test_pinned_runs_are_kept_apart(tmp_path: Path) -> None:
    common = ("threads", "--quick", "--rounds", "1", "--rows", "[sn]*s", "--output", str(tmp_path))
    done = run_benchmarks(*common, "--pin")
    assert done.returncode == 0, done.stdout + done.stderr
    (json_file,) = tmp_path.glob("*.json")
    assert json_file.stem.endswith("-pinned")
    assert json.loads(json_file.read_text())["machine"]["cores"] == 1


def test_check_fails_when_a_row_is_short(bench, monkeypatch, capsys) -> None:
    for cost, status in ((4.0, 1), (1.0, 0)):
        rows = [row_of(bench, [8.0], [cost])]
        monkeypatch.setattr(bench.bench_threads, "rows", lambda quick, rows=rows: rows)
        arguments = ["threads", "--rounds", "1", "--rows", "*", "--check"]
        assert bench.run.main(arguments) == status
    assert "short" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no such area: nowhere"),
        (["threads", "--rows", "nothing"], "no row matches"),
        (["threads", "--rounds", "0"], "--rounds must be 1 or more"),
    ],
)
def test_bad_arguments(bench, arguments: list[str], words: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.run.main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_figures_of_the_readme_come_from_the_results(bench, tmp_path: Path) -> None:
    missing = measured(bench, [], [], unavailable="no second core")
    results = [measured(bench, [8e-6], [2e-6]), missing]
    data = bench.report.document("area", "python run.py", 1, 0.25, {}, results)
    bench.report.write(tmp_path, "area-x", "", data)
    bench.report.write(tmp_path, "area-x-pinned", "", data)
    runs = bench.figures.documents(tmp_path)
    assert set(runs) == {"area-x"}
    text = bench.figures.figures(runs)
    rows = [line for line in text.splitlines() if line.startswith("| a row")]
    assert rows == ["| a row | 8.00 us | 2.00 us | 4.00x | 4x | met |"]
    assert "`python run.py`" in text
    wide = wide_row(
        bench,
        side(bench, "s", 2.0),
        (side(bench, "a", 8.0), side(bench, "b", 9.0)),
        floor=side(bench, "C", 1.0),
    )
    wide_results = [bench.harness.measure(wide, 1, print)]
    versions = {"b": "1.5"}
    data = bench.report.document("area", "python run.py", 1, 0.25, versions, wide_results)
    table = bench.figures.figures({"wide": data})
    assert "`python run.py`; b 1.5:" in table
    (line,) = (line for line in table.splitlines() if line.startswith("| a row"))
    assert line == (
        "| a row | 8.00 s | 9.00 s | 2.00 s | a | 4.00x | 4x | 1.00 s | +100% | - | met |"
    )
    page = f"top\n{bench.figures.BEGIN}old\n{bench.figures.END}rest\n"
    replaced = bench.figures.replaced(page, text)
    assert replaced == f"top\n{bench.figures.BEGIN}{text}{bench.figures.END}rest\n"
    with pytest.raises(SystemExit, match="to write between"):
        bench.figures.replaced("no marks", text)
