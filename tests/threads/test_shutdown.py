"""shutdown() and what happens to a pool when it is dropped, or when the interpreter ends."""

import threading
import time

import pytest
from support import Gate, eventually, run_script, start_thread

LONG = 60.0


# --- shutdown ---------------------------------------------------------------------------------------------------------


def test_waits_for_everything_that_was_submitted(impl):
    pool, done = impl.ThreadPoolExecutor(2), []
    futures = [pool.submit(done.append, number) for number in range(500)]
    pool.shutdown()
    assert sorted(done) == list(range(500)) and all(future.done() for future in futures)
    assert not any(thread.is_alive() for thread in pool._threads)


def test_without_waiting_everything_still_runs(impl, gate):
    pool = impl.ThreadPoolExecutor(2)
    futures = [pool.submit(gate.wait, number) for number in range(10)]
    threads = list(pool._threads)
    pool.shutdown(wait=False)
    assert not futures[0].done()
    gate.open()
    assert [future.result(LONG) for future in futures] == list(range(10))
    for thread in threads:
        thread.join(LONG)


def test_several_times(impl):
    pool = impl.ThreadPoolExecutor(1)
    pool.submit(int)
    pool.shutdown(wait=False)
    for _ in range(3):
        pool.shutdown()
    assert pool._shutdown is True


def test_before_anything_was_submitted(impl):
    pool = impl.ThreadPoolExecutor(1)
    pool.shutdown()
    assert not pool._threads


def test_from_several_threads(impl, gate):
    pool = impl.ThreadPoolExecutor(2)
    future = pool.submit(gate.wait, 1)
    threads = [start_thread(pool.shutdown) for _ in range(4)]
    time.sleep(0.01)
    assert all(thread.outcome is None for thread in threads)
    gate.open()
    for thread in threads:
        thread.join(LONG)
        assert thread.outcome == (None, None)
    assert future.result(0) == 1


def test_submit_afterwards(impl):
    pool = impl.ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown$"):
        pool.submit(int)


def test_with_statement(impl):
    with impl.ThreadPoolExecutor(2) as pool:
        future = pool.submit(pow, 2, 3)
    assert future.done() and pool._shutdown
    with pytest.raises(KeyError):
        with impl.ThreadPoolExecutor(1) as pool:
            raise KeyError
    assert pool._shutdown


def test_cancel_futures(impl, gate):
    pool, ran = impl.ThreadPoolExecutor(1), []
    running = pool.submit(gate.wait, "ran")
    gate.until_entered()
    queued = [pool.submit(ran.append, number) for number in range(50)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in queued) and pool._work_queue.qsize() <= 1
    gate.open()
    pool.shutdown()
    assert running.result(0) == "ran" and ran == []


def test_cancel_futures_calls_their_callbacks(impl, gate):
    pool, seen = impl.ThreadPoolExecutor(1), []
    pool.submit(gate.wait)
    gate.until_entered()
    pool.submit(int).add_done_callback(lambda future: seen.append(future.cancelled()))
    pool.shutdown(wait=False, cancel_futures=True)
    assert seen == [True]
    gate.open()
    pool.shutdown()


def test_waiter_of_a_future_cancelled_by_shutdown_wakes(impl, gate):
    pool = impl.ThreadPoolExecutor(1)
    pool.submit(gate.wait)
    gate.until_entered()
    future = pool.submit(int)
    waiter = start_thread(future.result)
    time.sleep(0.01)
    pool.shutdown(wait=False, cancel_futures=True)
    waiter.join(LONG)
    assert isinstance(waiter.outcome[1], impl.CancelledError)
    gate.open()
    pool.shutdown()


@pytest.mark.parametrize("arguments", [(True, True), (True, 1, 2)])
def test_cancel_futures_is_a_keyword(impl, arguments):
    pool = impl.ThreadPoolExecutor(1)
    with pytest.raises(TypeError):
        pool.shutdown(*arguments)
    pool.shutdown(True)


def test_from_a_task(impl):
    pool = impl.ThreadPoolExecutor(1)
    assert pool.submit(lambda: pool.shutdown(wait=False)).result(LONG) is None
    with pytest.raises(RuntimeError):
        pool.submit(int)
    pool.shutdown()


def test_waiting_shutdown_from_a_task_does_not_hang(native):
    # A thread cannot join itself: the standard pool raises, waiting for the others only is fine too.
    pool = native.ThreadPoolExecutor(1)
    future = pool.submit(pool.shutdown, wait=True)
    assert future.exception(LONG) is None or isinstance(future.exception(), RuntimeError)
    pool.shutdown()


def test_from_a_callback(impl, gate):
    pool = impl.ThreadPoolExecutor(1)
    future = pool.submit(gate.wait, 1)
    future.add_done_callback(lambda _: pool.shutdown(wait=False))
    gate.open()
    assert future.result(LONG) == 1
    assert eventually(lambda: pool._shutdown)
    pool.shutdown()


def test_submitting_while_another_thread_shuts_down(impl):
    for _ in range(30):
        pool, accepted, done = impl.ThreadPoolExecutor(2), [], []

        def submit_until_refused(pool=pool, accepted=accepted, done=done):
            try:
                while True:
                    accepted.append(pool.submit(done.append, None))
            except RuntimeError as error:
                return str(error)

        threads = [start_thread(submit_until_refused) for _ in range(3)]
        eventually(lambda accepted=accepted: len(accepted) > 20)
        pool.shutdown()
        for thread in threads:
            thread.join(LONG)
            assert thread.outcome == ("cannot schedule new futures after shutdown", None)
        assert all(future.done() for future in accepted) and len(done) == len(accepted)


def test_timeout(native, gate):
    pool = native.ThreadPoolExecutor(1)
    future = pool.submit(gate.wait, 1)
    gate.until_entered()
    started = time.monotonic()
    pool.shutdown(wait=True, timeout=0.05)
    assert 0.05 <= time.monotonic() - started < 20 and not future.done()
    with pytest.raises(RuntimeError):
        pool.submit(int)
    gate.open()
    pool.shutdown(timeout=LONG)
    assert future.result(0) == 1 and not any(thread.is_alive() for thread in pool._threads)


@pytest.mark.parametrize("bad", ["1", [], object()])
def test_bad_timeout(native, bad):
    pool = native.ThreadPoolExecutor(1)
    with pytest.raises(TypeError):
        pool.shutdown(timeout=bad)
    pool.shutdown()


def test_dropped_pool_ends_its_idle_workers(impl):
    pool = impl.ThreadPoolExecutor(2)
    assert list(pool.map(abs, range(4))) == list(range(4))
    threads = list(pool._threads)
    del pool
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_dropped_while_its_last_task_finishes(impl):
    for _ in range(50):
        gate = Gate()
        pool = impl.ThreadPoolExecutor(1)
        future, threads = pool.submit(gate.wait), list(pool._threads)
        gate.open()
        del pool
        assert future.result(LONG) is None
        threads[0].join(LONG)
        assert not threads[0].is_alive()


# --- the end of the interpreter ---------------------------------------------------------------------------------------


def script(impl, source):
    return f"import {impl.module.__name__} as futures\n" + source


def test_exit_runs_what_is_queued(impl):
    out = run_script(
        script(
            impl,
            """
import os, time
pool = futures.ThreadPoolExecutor(2)
def job(number):
    time.sleep(0.05)
    os.write(1, f"{number} ".encode())
for number in range(8):
    pool.submit(job, number)
""",
        )
    )
    assert sorted(map(int, out.split())) == list(range(8))


def test_exit_after_shutdown_without_waiting(impl):
    out = run_script(
        script(
            impl,
            """
import time
pool = futures.ThreadPoolExecutor(1)
pool.submit(time.sleep, 0.2)
pool.submit(print, "done")
pool.shutdown(wait=False)
""",
        )
    )
    assert out.strip() == "done"


def test_exit_with_idle_workers(impl):
    source = "pool = futures.ThreadPoolExecutor(4)\nprint(sum(pool.map(abs, range(100))))"
    assert run_script(script(impl, source)).strip() == "4950"


def test_exit_of_a_pool_that_was_dropped(impl):
    source = "futures.ThreadPoolExecutor(1).submit(print, 'ran')"
    assert run_script(script(impl, source)).strip() == "ran"


def test_exit_by_an_exception_still_runs_the_queue(impl):
    source = """
import time
pool = futures.ThreadPoolExecutor(1)
pool.submit(time.sleep, 0.1)
pool.submit(print, "ran", flush=True)
raise SystemExit(3)
"""
    out, err = run_script(script(impl, source), status=3)
    assert out.strip() == "ran" and not err


def test_submitting_at_exit(impl):
    source = """
import atexit
@atexit.register
def late():
    try:
        pool.submit(int)
    except RuntimeError as error:
        print(error)
import concurrent.futures.thread
pool = futures.ThreadPoolExecutor(1)
pool.submit(int).result()
"""
    text = run_script(script(impl, source)).strip()
    assert text.startswith("cannot schedule new futures after")


def test_a_new_pool_at_exit(impl):
    source = """
import atexit
@atexit.register
def late():
    try:
        futures.ThreadPoolExecutor(1).submit(int)
    except RuntimeError as error:
        print(error)
import concurrent.futures.thread
futures.ThreadPoolExecutor(1).submit(int).result()
"""
    assert run_script(script(impl, source)).strip() == "cannot schedule new futures after interpreter shutdown"


def test_task_that_submits_during_exit(impl):
    source = """
import time
pool = futures.ThreadPoolExecutor(1)
def job():
    time.sleep(0.5)  # the main thread has long come to its end, and waits for this one
    try:
        pool.submit(print, "late")
    except RuntimeError as error:
        print(error, flush=True)
pool.submit(job)
"""
    assert run_script(script(impl, source)).strip() == "cannot schedule new futures after interpreter shutdown"


def test_exit_while_other_threads_wait_for_results(impl):
    source = """
import threading, time
pool = futures.ThreadPoolExecutor(1)
future = pool.submit(time.sleep, 0.3)
for _ in range(3):
    threading.Thread(target=lambda: print(f'{future.result()} ', end='', flush=True)).start()
"""
    assert run_script(script(impl, source)).split() == ["None"] * 3


def test_exit_with_daemon_threads_waiting_for_ever(impl):
    source = """
import threading, time
future = futures.Future()
for wait in (future.result, future.exception, lambda: futures.wait([future]), lambda: list(futures.as_completed([future]))):
    threading.Thread(target=wait, daemon=True).start()
time.sleep(0.2)
print("end")
"""
    assert run_script(script(impl, source)).strip() == "end"


def test_ctrl_c_at_exit_time_ends_the_wait(impl):
    source = """
import os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
pool = futures.ThreadPoolExecutor(1)
pool.submit(time.sleep, 1.0)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
"""
    _, err = run_script(script(impl, source), status=None)
    assert "KeyboardInterrupt" in err and "Fatal Python error" not in err


def test_daemon_pool_lets_the_process_exit(native):
    source = """
import threading, time
import treadle
pool = treadle.ThreadPoolExecutor(2, daemon=True)
forever = threading.Event()
for _ in range(4):
    pool.submit(forever.wait)
pool.submit(print, "never")
thread = next(iter(pool._threads))
print(thread.daemon)
"""
    assert run_script(source, limit=30).strip() == "True"


@pytest.mark.parametrize("work", ["time.sleep(0.0001)", "sum(range(1000))", "pool.submit(int)"])
def test_daemon_pool_busy_at_exit_does_not_crash(native, work):
    source = f"""
import time
import treadle
pool = treadle.ThreadPoolExecutor(4, daemon=True)
def job():
    while True:
        {work}
for _ in range(4):
    pool.submit(job)
time.sleep(0.1)
print("end", flush=True)
"""
    for _ in range(3):
        assert run_script(source, limit=30).strip() == "end"


def test_daemon_pool_with_map_and_waits_at_exit(native):
    source = """
import threading, time
import treadle
pool = treadle.ThreadPoolExecutor(2, daemon=True)
iterator = pool.map(time.sleep, [0.001] * 100000)
threading.Thread(target=lambda: list(iterator), daemon=True).start()
other = treadle.ThreadPoolExecutor(2, daemon=True)
next(other.map_unordered(abs, range(100000)))
print("end", flush=True)
"""
    assert run_script(source, limit=30).strip() == "end"


def test_daemon_pool_still_shuts_down_in_order(native):
    with native.ThreadPoolExecutor(2, daemon=True) as pool:
        future = pool.submit(threading.current_thread)
    assert future.result(0).daemon is True and not future.result().is_alive()


def test_modules_and_globals_torn_down_with_futures_alive(impl):
    source = """
import sys
pool = futures.ThreadPoolExecutor(2)
kept = [pool.submit(pow, n, 2) for n in range(100)]
kept.append(futures.Future())
kept[-1].cycle = kept
sys.kept = kept
pool.itself = pool
print("end")
"""
    assert run_script(script(impl, source)).strip() == "end"
