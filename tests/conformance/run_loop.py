#!/usr/bin/env python3
"""Run CPython's own asyncio tests with treadle.EventLoop as the loop, on the interpreter that runs this.

Each test runs in a process of its own under a time limit, forked from one that has imported everything. A test that hangs,
crashes the process, leaves threads behind or ran on another loop than treadle's has failed. Exclusions are listed with
their reasons in exclusions_loop.toml; an excluded test is run all the same, and when it passes the entry is stale and the
run fails. An interpreter that ships without test.test_asyncio is skipped, and said to be.

With --stock the loop is asyncio's own: it proves the runner and the suite on this machine.
"""

import argparse
import asyncio
import collections
import dataclasses
import faulthandler
import importlib.util
import json
import os
import pathlib
import signal
import struct
import sys
import tempfile
import threading
import time
import unittest

from ending import Forked, end, tail_of
from exclusions import Exclusions
from reporting import Outcome, count, interpreter, print_details, print_table

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS = ("suite", "run", "passed", "failed", "excluded", "skipped", "loops", "seconds")
EXCLUDED_LIMIT = 20.0  # seconds for a test that is expected not to pass
INDEX = struct.Struct("=i")


@dataclasses.dataclass
class LoopOutcome(Outcome):
    loops: int = 0  # of the class under test that the test made


@dataclasses.dataclass
class Work:
    """What is there to run, by the number of the test, and how."""

    tests: list  # (id, class, method, limit in seconds)
    counter: object


def run_here(cls, method, counter, report):
    """In the test's own process: run it and write what came of it to the file `report`."""
    from recording import OutcomeResult

    class Result(OutcomeResult):
        outcome, detail = "failed", "it never started"

        def started(self, test):
            counter.ours = counter.others = 0

        def ended(self, test, outcome, detail):
            self.outcome, self.detail = outcome, detail

        def around(self, outcome, detail):
            self.outcome, self.detail = outcome, detail

    result = Result()
    unittest.TestSuite([cls(method)])(result)
    if result.outcome == "passed" and counter.others and not counter.ours:
        result.outcome, result.detail = "failed", "it ran on another loop than the one under test"
    report.write(json.dumps([result.outcome, result.detail, counter.ours]).encode())
    report.flush()


def settle(folder, log):
    """Make a session, so that all that the test starts can be ended; files go to `folder`, output to the file `log`."""
    os.setsid()
    os.chdir(folder)
    # ignored where a shell has started us in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor in (1, 2):
        os.dup2(log.fileno(), descriptor)
    faulthandler.enable()


def run_alone(work, number):
    """The outcome of one test in a process of its own."""
    test, cls, method, limit = work.tests[number]
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as log,
        tempfile.TemporaryFile() as report,
    ):
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            settle(folder, log)
            run_here(cls, method, work.counter, report)
            # All the way up, so that the interpreter ends as any other: nothing on the way may touch what is not the test's.
            sys.exit(0)
        ending = end(Forked(pid), limit)
        seconds = round(time.monotonic() - started, 3)
        report.seek(0)
        result = report.read()
        if ending or not result:
            return LoopOutcome(test, "failed", f"the process {ending or 'ended too soon'}\n{tail_of(log)}", seconds)
        outcome, detail, loops = json.loads(result)
        if outcome == "failed":
            detail += "\n" + tail_of(log)
        return LoopOutcome(test, outcome, detail, seconds, loops)


def work_off(work, queue, results):
    """In a process of its own: run the tests whose numbers come out of the pipe `queue`, one by one."""
    while number := os.read(queue, INDEX.size):
        outcome = run_alone(work, INDEX.unpack(number)[0])
        results.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
        results.flush()  # the next test's process would write it once more


def run_all(work, jobs):
    """The outcomes of all tests, by `jobs` processes; each has one thread only, as must be where one forks."""
    reader, writer = os.pipe()
    files = [tempfile.TemporaryFile("w+") for _ in range(jobs)]
    pids = []
    sys.stdout.flush()  # or each process would write it once more
    for results in files:
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            work_off(work, reader, results)
            sys.exit(0)
        pids.append(pid)
    os.close(reader)
    for number in range(len(work.tests)):
        os.write(writer, INDEX.pack(number))
    os.close(writer)
    for pid in pids:
        os.waitpid(pid, 0)
    outcomes = []
    for results in files:
        with results:
            results.seek(0)
            outcomes += [LoopOutcome(**json.loads(line)) for line in results]
    missing = {test for test, *_ in work.tests} - {outcome.test for outcome in outcomes}
    assert len(outcomes) + len(missing) == len(work.tests)
    return outcomes + [LoopOutcome(test, "failed", "it was never run") for test in missing]


def judge(outcome, exclusions):
    """What an outcome is in the light of the exclusions."""
    reason = exclusions.reason(outcome.test)
    if reason is None or outcome.outcome == "skipped":
        return outcome
    if outcome.outcome == "passed":
        return dataclasses.replace(outcome, outcome="stale", detail=f"passes, yet it is excluded: {reason}")
    return dataclasses.replace(outcome, outcome="excluded", detail=reason)


def complain(suites, tests, outcomes, exclusions):
    """What is wrong with the run as a whole."""
    complaints = [f"the exclusions name {test}, which does not exist here" for test in exclusions.unknown(tests)]
    for suite in suites:
        ours = [outcome for outcome in outcomes if suite_of(outcome.test) == suite and outcome.outcome == "passed"]
        least = exclusions.minimum[suite]
        if len(ours) < least:
            complaints.append(f"{suite}: only {len(ours)} tests passed, at least {least} expected")
        if not any(outcome.loops for outcome in ours):
            complaints.append(f"{suite}: not one loop was made")
    return complaints


def suite_of(test):
    return test.partition(".")[0].removeprefix("test_")


def summarize(outcomes):
    suites = collections.defaultdict(list)
    for outcome in outcomes:
        suites[suite_of(outcome.test)].append(outcome)
    rows = [(name, suites[name]) for name in sorted(suites)] + [("all", outcomes)]
    return [
        {
            "suite": name,
            **count(each),
            "loops": sum(outcome.loops for outcome in each),
            "seconds": round(sum(outcome.seconds for outcome in each), 1),
        }
        for name, each in rows
    ]


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", action="store_true", help="use asyncio's own loop")
    parser.add_argument("--only", default="", metavar="TEXT", help="only tests whose name contains this")
    parser.add_argument("--exclusions", type=pathlib.Path, default=HERE / "exclusions_loop.toml")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds a single test may take (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="tests run side by side (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, help="write everything to this file as well")
    return parser.parse_args(argv)


def prepare(stock):
    """Swap the loop, unless it is to be the stock one; its class, and the count of what is made."""
    import loop_suites

    if stock:
        # Many tests make a loop of their own, of the abstract base: all that is stock counts.
        return asyncio.SelectorEventLoop, loop_suites.count_instances(asyncio.BaseEventLoop)
    import treadle

    counter = loop_suites.count_instances(treadle.EventLoop)
    loop_suites.install(treadle.EventLoop)
    return treadle.EventLoop, counter


def native_classes():
    """Treadle's classes of tasks and futures, or None if asyncio's are in use on this interpreter."""
    import treadle

    return (treadle.Task, treadle.LoopFuture) if treadle.Task is not asyncio.Task else None


def main(argv=None):
    options = parse_arguments(argv)
    if not (importlib.util.find_spec("test") and importlib.util.find_spec("test.test_asyncio")):
        print("skipped: this interpreter ships without test.test_asyncio")
        return 0
    import loop_suites

    label, version = interpreter()
    loop_class, counter = prepare(options.stock)
    native = None if options.stock else native_classes()
    suites = loop_suites.available(native)
    found = {test: where for suite in suites for test, where in loop_suites.load(suite, loop_class, native).items()}
    exclusions = Exclusions(options.exclusions, label, "stock" if options.stock else "treadle")
    chosen = [
        (test, *where, options.limit if exclusions.reason(test) is None else EXCLUDED_LIMIT)
        for test, where in found.items()
        if options.only in test
    ]
    if not chosen or threading.active_count() > 1:
        raise SystemExit("nothing to run" if not chosen else "importing the tests has started threads: no way to fork")
    outcomes = run_all(Work(chosen, counter), options.jobs)
    outcomes = [judge(outcome, exclusions) for outcome in outcomes]
    complaints = [] if options.only else complain(suites, list(found), outcomes, exclusions)
    print_details(version, complaints, outcomes)
    summary = summarize(outcomes)
    print_table(COLUMNS, summary)
    if options.json:
        everything = {"python": version, "complaints": complaints, "suites": summary}
        everything["tests"] = [dataclasses.asdict(outcome) for outcome in outcomes]
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 1 if complaints or summary[-1]["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
