"""How a worker is started and what it sets up, by every start method."""

import logging
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import forkserver

import pytest
from support import process_bodies as bodies
from support import run_script
from support.waiting import eventually, gone
from treadle import _workers
from treadle._worker_logs import Relay
from treadle._workers import WorkerSpec, choose_context, worker_options
from treadle._zygote import ZygoteContext, stop_zygotes

CONTEXTS = ("zygote", "fork", "spawn", "forkserver")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def no_zygotes_left():
    yield
    stop_zygotes()


@pytest.fixture(params=CONTEXTS)
def ctx(request):
    return choose_context(request.param)


@pytest.fixture
def probe(monkeypatch):
    """Starts a worker that describes itself: its words, and the process."""
    monkeypatch.setattr(_workers, "run", bodies.probe_worker)
    started = []

    def start(ctx, *then, descriptors=(), index=0, **options):
        reader, writer = ctx.Pipe(duplex=False)
        spec = WorkerSpec(index, descriptors, ctx, initargs=(writer, *then), options=options)
        process = _workers.start(spec)
        started.append(process)
        writer.close()
        assert reader.poll(60)
        said = reader.recv()
        process.channel = reader
        return said, process

    yield start
    for process in started:
        process.kill()
        process.join(60)
        process.channel.close()


class TestStart:
    def test_a_worker_has_its_number_and_descriptors(self, ctx, probe):
        read, write = os.pipe()
        try:
            said, process = probe(ctx, descriptors=(read, write), index=3)
            assert said["index"] == 3
            assert said["descriptors"] == [os.fstat(read).st_ino, os.fstat(write).st_ino]
            assert said["inheritable"] == [False, False]
        finally:
            os.close(read)
            os.close(write)
        process.join(60)
        assert process.exitcode == 0

    def test_nobody_else_has_a_number(self):
        import treadle

        assert treadle.worker_id() is None

    def test_interrupts_are_ignored_from_the_first_moment(self, ctx, probe):
        said, process = probe(ctx, bodies.sleep_long)
        assert said["interrupt"] == signal.SIG_IGN
        assert said["terminate"] == signal.SIG_DFL
        assert not said["held"]
        # a fork server's children do not inherit our mask; a zygote ignores the signal anyway
        assert said["held_at_start"] == (ctx.get_start_method() in ("fork", "spawn"))
        os.kill(process.pid, signal.SIGINT)
        process.join(0.1)
        assert process.is_alive()
        process.terminate()
        process.join(60)
        assert process.exitcode == -signal.SIGTERM

    def test_our_own_mask_is_as_before(self, ctx, probe):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        probe(ctx)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before

    def test_handlers_of_the_parent_are_not_inherited(self, probe):
        read, write = os.pipe()
        os.set_blocking(write, False)
        old = signal.signal(signal.SIGTERM, lambda *_: None)
        wakeup = signal.set_wakeup_fd(write)
        try:
            said, process = probe(choose_context("fork"), bodies.sleep_long)
            process.terminate()
            process.join(60)
            assert process.exitcode == -signal.SIGTERM
            os.set_blocking(read, False)
            with pytest.raises(BlockingIOError):
                os.read(read, 1)
        finally:
            signal.set_wakeup_fd(wakeup)
            signal.signal(signal.SIGTERM, old)
            os.close(read)
            os.close(write)

    def test_a_worker_is_listed(self, ctx, probe):
        _, process = probe(ctx, bodies.sleep_long)
        assert process in multiprocessing.active_children()


class TestLimits:
    @pytest.fixture(autouse=True)
    def no_limits_of_our_own(self, monkeypatch):
        for name in _workers.THREAD_VARIABLES:
            monkeypatch.delenv(name, raising=False)

    def test_library_threads(self, ctx, probe):
        said, _ = probe(ctx, **worker_options(2, library_threads=3))
        assert said["threads"] == said["preloaded_threads"] == "3"
        assert "OMP_NUM_THREADS" not in os.environ

    def test_libraries_that_a_zygote_preloads_see_the_limit(self, probe):
        said, _ = probe(ZygoteContext(["support.looks_at_threads"]), library_threads=5)
        assert said["preloaded_threads"] == "5"

    def test_what_is_set_wins(self, ctx, probe, monkeypatch):
        forkserver.ensure_running()  # a fork server has the environment that it was started with
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        said, _ = probe(ctx, library_threads=3)
        stock_server = ctx.get_start_method() == "forkserver" and not isinstance(ctx, ZygoteContext)
        assert said["threads"] == (None if stock_server else "7")

    def test_no_limit(self, ctx, probe):
        said, _ = probe(ctx, **worker_options(2, library_threads=None))
        assert said["threads"] is None

    def test_libraries_that_are_loaded_already(self):
        for name in "numpy", "threadpoolctl":
            pytest.importorskip(name, reason=f"{name} is not installed")
        program = """
            import numpy, threadpoolctl, treadle
            from support import process_bodies as bodies
            threadpoolctl.threadpool_limits(3)
            for threads in 1, 2, None:
                with treadle.ProcessPoolExecutor(1, "fork", library_threads=threads) as pool:
                    print(pool.submit(bodies.threads_of_libraries).result())
        """
        assert run_script(program).split() == ["{1}", "{2}", "{3}"]

    def test_cpus_are_divided_among_workers(self):
        cpus = len(os.sched_getaffinity(0))
        assert worker_options(1)["library_threads"] == cpus
        assert worker_options(2 * cpus)["library_threads"] == 1

    def test_affinity(self, ctx, probe):
        one = min(os.sched_getaffinity(0))
        said, _ = probe(ctx, **worker_options(2, affinity=[one]))
        assert said["affinity"] == {one}
        said, _ = probe(ctx, **worker_options(2))
        assert said["affinity"] == os.sched_getaffinity(0)

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"affinity": []}, ValueError, "affinity must name some of the CPUs"),
            ({"affinity": [123456]}, ValueError, r"not \[123456\]"),
            ({"library_threads": 0}, ValueError, "library_threads must be 'auto', None, or a number"),
            ({"library_threads": "many"}, ValueError, "library_threads must be"),
            ({"exit_function": 3}, TypeError, "exit_function must be a callable"),
            ({"max_memory": -1}, ValueError, "max_memory_per_child must be a number of bytes"),
            ({"max_memory": 1.5}, ValueError, "max_memory_per_child must be a number of bytes"),
        ],
    )
    def test_bad_options(self, options, error, text):
        with pytest.raises(error, match=text):
            worker_options(2, **options)


class TestChooseContext:
    def test_by_name(self):
        assert isinstance(choose_context("zygote"), ZygoteContext)
        assert choose_context("fork").get_start_method() == "fork"
        assert not isinstance(choose_context("forkserver"), ZygoteContext)
        with pytest.raises(ValueError, match="cannot find context for 'nonsense'"):
            choose_context("nonsense")

    def test_a_context_is_taken_as_it_is(self):
        for method in ("fork", "spawn", "forkserver"):
            given = multiprocessing.get_context(method)
            assert choose_context(given) is given
        given = ZygoteContext()
        assert choose_context(given) is given

    def test_the_default_is_this_versions(self):
        chosen = choose_context(None)
        assert chosen.get_start_method() == multiprocessing.get_context().get_start_method()
        assert isinstance(chosen, ZygoteContext) == (sys.version_info >= (3, 14))

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_a_default_that_was_set_is_respected(self, method):
        out = run_script(
            f"""
            import multiprocessing
            from treadle._workers import choose_context
            multiprocessing.set_start_method({method!r})
            chosen = choose_context(None)
            print(chosen.get_start_method(), type(chosen).__name__)
            """
        )
        name = {"fork": "ForkContext", "spawn": "SpawnContext", "forkserver": "ZygoteContext"}[method]
        assert out.split() == [method, name]

    def test_workers_that_are_replaced_are_never_forked_from_here(self):
        chosen = choose_context(None, max_tasks_per_child=3)
        assert isinstance(chosen, ZygoteContext) and chosen.get_start_method() == "spawn"

    def test_preload(self):
        assert choose_context(None, preload=["json"]).preload == ("json",)
        assert choose_context("zygote", preload=["json"]).preload == ("json",)
        for other in ("fork", multiprocessing.get_context("spawn"), ZygoteContext()):
            with pytest.raises(ValueError, match="preload goes with mp_context='zygote'"):
                choose_context(other, preload=["json"])


ORPHANS = """
    import os, sys, time
    from support import process_bodies as bodies
    from treadle import _workers
    from treadle._workers import WorkerSpec, choose_context
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    if __name__ == "__main__":
        _workers.run = bodies.probe_worker
        ctx = choose_context({method!r})
        pids, kept = [], []
        for index in range(2):
            reader, writer = ctx.Pipe(duplex=False)
            worker = _workers.start(WorkerSpec(index, (), ctx, initargs=(writer, {task})))
            kept.append((worker, reader.recv()))
            pids.append(worker.pid)
        child = os.fork()
        if child == 0:  # a child that outlives us, and has inherited everything
            os.close(1)
            os.close(2)
            time.sleep(3)
            os._exit(0)
        print(*pids, flush=True)
        os.kill(os.getpid(), 9)
"""


class TestParentKilled:
    @pytest.mark.parametrize(
        ("method", "task"), [*((method, "bodies.sleep_long") for method in CONTEXTS), ("zygote", "bodies.spin")]
    )
    def test_no_worker_outlives_it(self, method, task):
        out, err = run_script(ORPHANS.format(method=method, task=task), status=-9)
        pids = [int(word) for word in out.split()]
        assert len(pids) == 2, err
        started = time.monotonic()
        try:
            assert eventually(lambda: all(map(gone, pids)), limit=10.0)
            # the kernel does it at once; the limit is for a machine with other things to do
            assert time.monotonic() - started < 2.5
        finally:
            for pid in pids:
                if not gone(pid):
                    os.kill(pid, signal.SIGKILL)


class TestLogs:
    @pytest.fixture
    def records(self):
        taken = []

        class Taking(logging.Handler):
            def emit(self, record):
                taken.append(record)

        handler = Taking()
        logger = logging.getLogger("treadle.test")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        yield taken
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)

    def test_records_reach_the_parents_handlers(self, ctx, probe, records):
        relay = Relay(logging.INFO)
        relay.start()
        try:
            _, process = probe(ctx, bodies.log_things, "treadle.test", logs=relay.sender())
            process.join(60)
        finally:
            relay.close()
        assert [record.getMessage() for record in records] == ["a warning 1", "it failed", "with extras"]
        assert {record.process for record in records} == {process.pid}
        assert {record.processName for record in records} == {process.name}
        text = logging.Formatter("%(message)s").format(records[1])
        assert text.startswith("it failed\nTraceback") and text.endswith("ZeroDivisionError: division by zero")
        assert "lambda" in records[2].odd

    def test_levels_of_the_parents_loggers_hold(self, probe, records):
        logging.getLogger("treadle.test").setLevel(logging.ERROR)
        relay = Relay(logging.INFO)
        relay.start()
        try:
            _, process = probe(choose_context("zygote"), bodies.log_things, "treadle.test", logs=relay.sender())
            process.join(60)
        finally:
            relay.close()
        assert [record.getMessage() for record in records] == ["it failed"]

    def test_a_record_larger_than_a_message_is_cut(self, probe, records):
        relay = Relay("INFO")
        relay.start()
        try:
            _, process = probe(choose_context("zygote"), bodies.log_much, "treadle.test", logs=relay.sender())
            process.join(60)
        finally:
            relay.close()
        assert len(records) == 1
        assert records[0].getMessage() == "x" * 2000 + "..."

    def test_closing_twice_and_bad_levels(self):
        relay = Relay(True)
        relay.close()
        relay.close()
        with pytest.raises(ValueError, match="Unknown level"):
            Relay("LOUD")
