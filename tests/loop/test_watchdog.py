"""loop.watchdog(): a callback that blocks is reported while it blocks."""

import asyncio
import os
import re
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import treadle
from support import script_environment

PATIENCE = 30  # seconds that a test waits for what must come


@pytest.fixture
def loop():
    loop = treadle.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def reports(caplog):
    """The messages so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.name == "asyncio"]


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def watchdog_threads():
    return [thread for thread in threading.enumerate() if thread.name == "treadle-watchdog"]


def block_until(condition):
    wait_until(condition)  # this line is in the report


def test_a_callback_is_reported_while_it_blocks(loop, reports):
    loop.watchdog(0.02)
    loop.call_soon(block_until, reports)
    loop.call_soon(loop.stop)
    loop.run_forever()
    (text,) = reports()
    assert re.match(r"A callback has blocked the event loop for \d+\.\d{3} seconds; thread MainThread is here:\n", text)
    assert "wait_until(condition)  # this line is in the report" in text


def test_a_task_is_named(loop, reports):
    async def main():
        loop.watchdog(0.02)
        block_until(reports)

    loop.run_until_complete(loop.create_task(main(), name="the culprit"))
    (text,) = reports()
    assert text.startswith("<Task pending name='the culprit' coro=<test_a_task_is_named.<locals>.main()")
    assert "block_until(reports)" in text


def test_each_callback_is_reported_once(loop, reports):
    async def main():
        loop.watchdog(0.01)
        block_until(reports)
        time.sleep(0.1)  # it goes on blocking
        assert len(reports()) == 1
        await asyncio.sleep(0)
        block_until(lambda: len(reports()) == 2)
        time.sleep(0.1)
        assert len(reports()) == 2
        assert loop.stats()["blocked_callbacks"] == 2

    loop.run_until_complete(main())


def test_a_loop_that_sleeps_or_is_busy_is_not_reported(loop, reports):
    """Only one callback that takes long is; not many short ones, nor none at all."""

    async def main():
        loop.watchdog(0.5)
        await asyncio.sleep(0.8)
        deadline = loop.time() + 0.8
        while loop.time() < deadline:
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    time.sleep(0.8)  # it does not run at all
    loop.run_until_complete(asyncio.sleep(0))
    assert reports() == []
    assert loop.stats()["blocked_callbacks"] == 0


def test_loops_of_other_threads(reports):
    def work():
        with treadle.Runner() as runner:
            runner.get_loop().watchdog(0.02)
            runner.get_loop().call_soon(block_until, reports)
            runner.run(asyncio.sleep(0))

    thread = threading.Thread(target=work, name="the other one")
    thread.start()
    thread.join()
    assert "thread the other one is here:" in reports()[0]


def test_the_thread_is_there_only_while_it_is_needed(loop):
    loop.run_until_complete(asyncio.sleep(0))
    wait_until(lambda: not watchdog_threads())  # an earlier test's may just be ending
    loop.watchdog(60)
    (first,) = watchdog_threads()
    loop.watchdog(50)
    first.join(PATIENCE)
    (second,) = watchdog_threads()
    for off in (None, 0, 0.0):
        loop.watchdog(off)
        second.join(PATIENCE)
        assert watchdog_threads() == []
        loop.watchdog(60)
        (second,) = watchdog_threads()
    loop.close()
    second.join(PATIENCE)
    assert watchdog_threads() == []


def test_a_loop_that_is_forgotten_takes_its_thread_along():
    wait_until(lambda: not watchdog_threads())
    loop = treadle.new_event_loop()
    loop.watchdog(60)
    (thread,) = watchdog_threads()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        import gc

        gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_wrong_values(loop):
    for wrong in (-1, -0.001, float("nan")):
        with pytest.raises(ValueError, match="seconds must not be negative"):
            loop.watchdog(wrong)
    for wrong in ("1", b"", [], {}):
        with pytest.raises(TypeError):
            loop.watchdog(wrong)
    loop.watchdog(float("inf"))
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.watchdog(1)
    wait_until(lambda: not watchdog_threads())


def run_script(body, **environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body)],
        capture_output=True,
        text=True,
        env=script_environment(**environment),
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_callback_that_keeps_the_gil():
    """Nobody can run Python code meanwhile: standard error has a line, the log the stack, later."""
    pytest.importorskip("ctypes", reason="the test calls a C function that keeps the GIL")
    err = run_script(
        """
        import ctypes, logging, treadle
        logging.basicConfig(format="logged: %(message)s")
        async def main():
            import asyncio
            asyncio.get_running_loop().watchdog(0.05)
            for _ in range(2):  # a second at most by POSIX
                ctypes.PyDLL(None).usleep(999_999)
            await asyncio.sleep(0.1)
        treadle.run(main())
        """
    )
    line = r"^treadle: an event loop has been busy with one callback for \d+\.\d{3} seconds, and nobody lets the GIL go$"
    said = re.search(line, err, re.MULTILINE)
    # on a slow machine the report may have to wait until the callback is over
    told = r"^logged: (<Task .* has|A callback that has just ended) blocked .*, keeping the GIL; thread MainThread( is here:)?$"
    logged = re.search(told, err, re.MULTILINE)
    assert said and logged and said.end() < logged.start(), err
    if logged[2]:
        assert 'File "<string>", line ' in err[logged.end() :]


def test_the_environment_variable():
    script = """
        import asyncio, logging, time, treadle, warnings
        logging.basicConfig(format="logged: %(message)s")
        async def main():
            time.sleep(0.3)
        treadle.run(main())
        """
    assert "time.sleep(0.3)" not in run_script(script)
    assert "main() running" in run_script(script, TREADLE_WATCHDOG="0.02")
    assert run_script(script, TREADLE_WATCHDOG="0") == ""
    for wrong in ("x", "-1"):
        assert f"RuntimeWarning: TREADLE_WATCHDOG='{wrong}' is not a number of seconds" in run_script(
            script, TREADLE_WATCHDOG=wrong
        )


def test_a_loop_that_is_left_open_does_not_hold_up_the_exit():
    assert (
        run_script(
            """
            import treadle, warnings
            warnings.simplefilter("ignore")
            loop = treadle.new_event_loop()
            loop.watchdog(3600)
            """
        )
        == ""
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_in_a_forked_child():
    """The child has not got the thread; a loop of its own gets one of its own."""
    err = run_script(
        """
        import asyncio, logging, os, threading, time, treadle, warnings
        warnings.simplefilter("ignore")
        logging.basicConfig(format="logged: %(message)s")
        loop = treadle.new_event_loop()
        loop.watchdog(0.01)
        async def main(seconds):
            asyncio.get_running_loop().watchdog(0.01)
            time.sleep(seconds)
        for _ in range(5):
            child = os.fork()
            if child == 0:
                del loop
                treadle.run(main(0))
                treadle.run(main(0.2))
                raise SystemExit
            assert os.waitpid(child, 0)[1] == 0
        loop.close()
        """
    )
    # more, where the machine is busy; and some only said to be busy, where nobody comes to look in time
    logged, noted = err.count("logged: <Task pending name="), err.count("an event loop has been busy with one callback")
    assert logged >= 1 and logged + noted >= 5, err


def test_reporting_that_fails_is_logged_and_goes_on(loop, reports):
    class Task(asyncio.Task):
        def __repr__(self):
            raise ZeroDivisionError

    async def main():
        loop.watchdog(0.02)
        block_until(reports)
        await asyncio.sleep(0)
        block_until(lambda: len(reports()) == 2)

    loop.set_task_factory(lambda loop, coro, **kwargs: Task(coro, loop=loop, **kwargs))
    loop.run_until_complete(main())
    assert set(reports()) == {"treadle's watchdog could not report"}
