#!/usr/bin/env python3
"""Run CPython's own test.test_asyncio mixins with treadle.EventLoop as the loop, on the interpreter that runs this.

Each class runs in a process of its own under a time limit; a class that hangs, crashes or runs fewer tests than
MINIMUM demands has failed. An interpreter that ships without test.test_asyncio is skipped, and said to be.
With --stock the loop is asyncio's own: it proves the runner and the suite on this machine.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

# Tests that must run and not be skipped, at the least, by class.
MINIMUM = {"Events": 70, "SockLowlevel": 13, "Sendfile": 20, "Server": 1, "BufferedProtocol": 1}
LIMIT = 240.0


def new_loop_factory(stock):
    if stock:
        return asyncio.SelectorEventLoop
    import treadle

    return treadle.new_event_loop


def make_class(name, factory):
    from test.test_asyncio import test_buffered_proto, test_events, test_sendfile, test_server, test_sock_lowlevel, utils

    # The mixin of the events tests was renamed.
    events = getattr(test_events, "UnixEventLoopTestsMixin", None) or test_events.EventLoopTestsMixin
    bases = {
        "Events": (events, test_events.SubprocessTestsMixin, utils.TestCase),
        "SockLowlevel": (test_sock_lowlevel.BaseSockTestsMixin, utils.TestCase),
        "Sendfile": (test_sendfile.SendfileTestsBase, utils.TestCase),
        "Server": (test_server.BaseStartServer, unittest.TestCase),
        "BufferedProtocol": (test_buffered_proto.BaseTestBufferedProtocol, unittest.TestCase),
    }[name]

    def create(self):
        return factory()

    return type(name, bases, {"create_event_loop": create, "new_loop": create})


def run_child(name, stock, out):
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(make_class(name, new_loop_factory(stock)))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    wrong = [(test.id(), text) for test, text in result.failures + result.errors]
    wrong += [(test.id(), "passes, yet it is expected to fail") for test in result.unexpectedSuccesses]
    skipped = [(test.id(), why) for test, why in result.skipped]
    out.write_text(json.dumps({"run": result.testsRun - len(skipped), "failed": wrong, "skipped": skipped}))


def run_class(name, stock, limit):
    """What one class's process reported, or why it did not."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        out = pathlib.Path(folder, "result.json")
        command = [sys.executable, "-X", "faulthandler", __file__, "--child", name, "--out", str(out)]
        process = subprocess.Popen(
            command + ["--stock"] * stock, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            ending = process.wait(limit) and f"ended with status {process.returncode}"
        except subprocess.TimeoutExpired:
            ending = f"hung for {limit} s"
            process.send_signal(signal.SIGABRT)  # faulthandler prints every thread's stack
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        result = json.loads(out.read_text()) if out.exists() else {"run": 0, "failed": [], "skipped": []}
        log.seek(0)
        if ending:
            result["failed"].append((name, f"the process {ending}\n{log.read().decode(errors='replace')[-6000:]}"))
    if result["run"] < MINIMUM[name]:
        result["failed"].append((name, f"only {result['run']} tests ran, at least {MINIMUM[name]} expected"))
    return result


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", action="store_true", help="use asyncio's own loop")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds a class may take (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, help="write everything to this file as well")
    parser.add_argument("--child", choices=MINIMUM, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        run_child(options.child, options.stock, options.out)
        return 0
    if not (importlib.util.find_spec("test") and importlib.util.find_spec("test.test_asyncio")):
        print("skipped: this interpreter ships without test.test_asyncio")
        return 0
    results = {name: run_class(name, options.stock, options.limit) for name in MINIMUM}
    for name, result in results.items():
        print(f"{name:17} run {result['run']:3}  failed {len(result['failed'])}  skipped {len(result['skipped'])}")
        for kind in ("failed", "skipped"):
            for test, text in result[kind]:
                print(f"  {kind}: {test}: {text}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if any(result["failed"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
