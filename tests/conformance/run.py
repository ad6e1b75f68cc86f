#!/usr/bin/env python3
"""Run CPython's own test.test_concurrent_futures on treadle's classes: those about threads, or those about processes.

    run.py                                    the interpreter that runs this script, thread classes
    run.py --area processes                   process classes, and multiprocessing's tests of its Pool on treadle.Pool
    run.py --python P --python Q              others; treadle must be importable there (see PYTHONPATH)
    run.py --stock                            nothing swapped: proves the runner and the suite on this machine
    run.py --suite-from P                     for interpreters that ship without the package: take it from P's library

A class runs in a process of its own, under a time limit for each test; a test that hangs, crashes the process or leaves
threads behind has failed. Exclusions are listed with their reasons in exclusions.toml. The exit status is 0 when all that
ran passed, no exclusion is stale, and there were at least as many tests as the list demands; otherwise 1.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import selectors
import subprocess
import sys
import tempfile
import time

from ending import end, tail_of
from exclusions import Exclusions
from reporting import Outcome, count, print_details, print_table

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS = ("python", "classes", "suite", "run", "passed", "failed", "excluded", "skipped", "seconds")
EXCLUSIONS = {"threads": HERE / "exclusions.toml", "processes": HERE / "exclusions_processes.toml"}
EXIT_LIMIT = 30.0  # seconds a process may take to start or to end


class Target:
    """One interpreter with one set of classes in it."""

    def __init__(self, python, mode, suite_from, limit, area="threads"):
        self.python = python
        self.mode = mode
        self.limit = limit
        self.environment = dict(os.environ, TREADLE_CONFORMANCE=mode, TREADLE_CONFORMANCE_AREA=area)
        path = [str(HERE / "bootstrap"), os.environ.get("PYTHONPATH")]
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        self.environment.pop("TREADLE_CONFORMANCE_SUITE", None)
        if not has_suite(python):
            if not suite_from:
                raise SystemExit(f"{python} ships without test.test_concurrent_futures: name one that has it with --suite-from")
            self.environment["TREADLE_CONFORMANCE_SUITE"] = stdlib_of(suite_from)
        self.info = self._describe()

    def _describe(self):
        done = subprocess.run(
            [self.python, str(HERE / "child.py"), "list"],
            env=self.environment, capture_output=True, text=True, timeout=120,
        )
        if done.returncode:
            raise SystemExit(f"{self.python}: cannot list the suite\n{done.stdout}{done.stderr}")
        info = json.loads(done.stdout)
        for name, module in info["swap"].items():
            if module.startswith("treadle") != (self.mode == "treadle"):
                raise SystemExit(f"{self.python}: {name} comes from {module} although {self.mode} was asked for")
        if info["unknown"]:
            raise SystemExit(f"{self.python}: test classes the runner does not know: {', '.join(info['unknown'])}")
        return info

    @property
    def label(self):
        return self.info["label"]


def stdlib_of(python):
    return ask(python, "import sysconfig; print(sysconfig.get_path('stdlib'))")


def has_suite(python):
    code = "import importlib.util as u; print(bool(u.find_spec('test') and u.find_spec('test.test_concurrent_futures')))"
    return ask(python, code) == "True"


def ask(python, code):
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise SystemExit(f"{python} cannot be run:\n{done.stderr}")
    return done.stdout.strip()


class Batch:
    """Some tests in one process: starts it, reads its events, ends it."""

    def __init__(self, target, tests):
        self.target = target
        self.tests = tests
        self.outcomes = {}
        self.broken = []
        self.current = None
        self.finished = False

    def run(self):
        reader, writer = os.pipe()
        with tempfile.TemporaryFile() as log:
            command = [self.target.python, "-X", "faulthandler", str(HERE / "child.py"), "run", str(writer), *self.tests]
            process = subprocess.Popen(
                command, env=self.target.environment, pass_fds=[writer], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )
            os.close(writer)
            with os.fdopen(reader, "rb", buffering=0) as stream:
                hung = not self._follow(stream)
            ending = end(process, 0 if hung else EXIT_LIMIT)
            self._conclude("hung" if hung else ending, tail_of(log))

    def _follow(self, stream):
        """Read events until the end; False when nothing came for too long."""
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not self.finished:
                if not selector.select(self.target.limit if self.current else EXIT_LIMIT):
                    return False
                chunk = stream.read(65536)
                if not chunk:
                    return True
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    self._event(json.loads(line))
        return True

    def _event(self, event):
        match event["event"]:
            case "start":
                self.current = (event["test"], time.monotonic())
            case "stop":
                seconds = time.monotonic() - self.current[1]
                self.outcomes[event["test"]] = Outcome(event["test"], event["outcome"], event["detail"], seconds)
                self.current = None
            case "broken":
                self.broken.append(event["detail"])
            case "finished":
                self.finished = True

    def _conclude(self, ending, log):
        if self.current:
            test, started = self.current
            detail = f"{ending or 'the process went away'}\n{log}"
            self.outcomes[test] = Outcome(test, "failed", detail, time.monotonic() - started)
        elif ending and self.finished:
            self.broken.append(f"all tests had run, then the process {ending}\n{log}")
        elif not self.finished:
            self.broken.append(f"the process {ending or 'went away'} between tests\n{log}")


def run_class(target, name, tests):
    """Outcomes of one class's tests; what is left after a hang or a crash goes on in a fresh process."""
    outcomes, left = {}, list(tests)
    while left:
        batch = Batch(target, left)
        batch.run()
        outcomes |= batch.outcomes
        for number, detail in enumerate(batch.broken):
            outcomes[f"{name}.<process {number}>"] = Outcome(f"{name}.<process {number}>", "failed", detail)
        remaining = [test for test in left if test not in outcomes]
        if len(remaining) == len(left):
            outcomes |= {test: Outcome(test, "failed", "was never run: " + "\n".join(batch.broken)) for test in left}
            break
        left = remaining
    if len(tests) > 1:
        for outcome in outcomes.values():
            if outcome.outcome == "failed" and outcome.test in tests:
                outcome.detail += alone_note(target, outcome.test)
    return list(outcomes.values())


def alone_note(target, test):
    """How a test that failed among others does in a process of its own: said in the report, it stays failed."""
    batch = Batch(target, [test])
    batch.run()
    result = batch.outcomes.get(test)
    return f"\n(alone in a process: {result.outcome if result else 'never ran'})"


def run_excluded(target, test, reason):
    batch = Batch(target, [test])
    batch.run()
    result = batch.outcomes.get(test)
    if result and result.outcome == "passed" and not batch.broken:
        return Outcome(test, "stale", f"passes, yet it is excluded: {reason}", result.seconds)
    return Outcome(test, "excluded", reason, result.seconds if result else 0.0)


def run_target(target, exclusions_path, jobs, only):
    """Every outcome on one interpreter, and the complaints that are about no single test."""
    exclusions = Exclusions(exclusions_path, target.label, target.mode)
    chosen = [test for test in target.info["tests"] if only in test]
    excluded = {test: reason for test in chosen if (reason := exclusions.reason(test))}
    minimum = exclusions.minimum.get(target.label)
    complaints = [f"{exclusions_path.name} names {test}, which does not exist here" for test in exclusions.unknown(target.info["tests"])]
    if minimum is None:
        complaints.append(f"{exclusions_path.name} has no minimum for {target.label}")
    elif not only and len(chosen) < minimum:
        complaints.append(f"only {len(chosen)} tests found, at least {minimum} expected")
    classes = collections.defaultdict(list)
    for test in chosen:
        if test not in excluded:
            classes[test.rpartition(".")[0]].append(test)
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        work = [pool.submit(run_class, target, name, tests) for name, tests in classes.items()]
        lone = [pool.submit(run_excluded, target, test, reason) for test, reason in excluded.items()]
        for future in work:
            outcomes += future.result()
        outcomes += [future.result() for future in lone]
    if not any(outcome.outcome == "passed" for outcome in outcomes):
        complaints.append("not a single test passed")
    return outcomes, complaints


def summarize(target, outcomes, complaints, seconds):
    return {
        "python": target.info["version"],
        "label": target.label,
        "classes": target.mode,
        "suite": "borrowed" if "TREADLE_CONFORMANCE_SUITE" in target.environment else "own",
        **count(outcomes),
        "seconds": round(seconds, 1),
        "complaints": complaints,
        "tests": [dataclasses.asdict(outcome) for outcome in sorted(outcomes, key=lambda o: o.test)],
    }


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="interpreter to test (may be repeated)")
    parser.add_argument("--stock", action="store_true", help="leave the standard library's classes in place")
    parser.add_argument("--suite-from", metavar="PYTHON", help="borrow the suite of this interpreter where there is none")
    parser.add_argument("--only", default="", metavar="TEXT", help="only tests whose name contains this")
    parser.add_argument("--area", choices=sorted(EXCLUSIONS), default="threads", help="(%(default)s)")
    parser.add_argument("--exclusions", type=pathlib.Path, help="another list than the area's")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds a single test may take (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="classes run side by side (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, help="write everything to this file as well")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse_arguments(argv)
    mode = "stock" if options.stock else "treadle"
    exclusions = options.exclusions or EXCLUSIONS[options.area]
    summaries = []
    for python in options.python or [sys.executable]:
        target = Target(python, mode, options.suite_from, options.limit, options.area)
        started = time.monotonic()
        outcomes, complaints = run_target(target, exclusions, options.jobs, options.only)
        summaries.append(summarize(target, outcomes, complaints, time.monotonic() - started))
        print_details(target.info["version"], complaints, outcomes)
    print_table(COLUMNS, summaries)
    if options.json:
        options.json.write_text(json.dumps(summaries, indent=1) + "\n")
    return 1 if any(summary["failed"] or summary["complaints"] for summary in summaries) else 0


if __name__ == "__main__":
    sys.exit(main())
