"""The C interface, treadle.h: other extensions' C functions on pool threads, with futures made by them."""

import array
import asyncio
import concurrent.futures
import importlib.util
import math
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest
from support import eventually, run_script, script_environment
from support.compiling import compile_library, needs_compiler

pytestmark = needs_compiler

LONG = 60.0
EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "native_extension"

# An extension that counts what treadle calls, and with or without a right to Python.
SOURCE = r"""
#include <Python.h>
#include <stdatomic.h>
#include <time.h>
#include <treadle.h>

static const treadle_api *treadle;
static _Atomic int runs, finishes, releases, attached_runs, detached_finishes, detached_releases;

struct job {
    int64_t value;
    _Atomic int64_t *gates; /* NULL, or: set [0], wait until [1] is set, for 20 s at most */
};

static int64_t job_run(void *arg)
{
    struct job *job = arg;
    struct timespec nap = {0, 200000};
    atomic_fetch_add(&runs, 1);
    atomic_fetch_add(&attached_runs, PyGILState_Check());
    if (job->gates != NULL)
        atomic_fetch_add(&job->gates[0], 1);
    for (int i = 0; job->gates != NULL && atomic_load(&job->gates[1]) == 0; i++) {
        if (i == 100000)
            return -1;
        nanosleep(&nap, NULL);
    }
    return job->value;
}

static void finishing(void)
{
    atomic_fetch_add(&finishes, 1);
    atomic_fetch_add(&detached_finishes, !PyGILState_Check());
}

static PyObject *finish_text(void *arg, int64_t value)
{
    finishing();
    if (((struct job *)arg)->value != value)
        return PyErr_Format(PyExc_AssertionError, "finish() got another value than run() gave");
    return PyUnicode_FromFormat("value %lld", (long long)value);
}

static PyObject *finish_error(void *arg, int64_t value)
{
    finishing();
    return PyErr_Format(PyExc_ValueError, "refused %lld", (long long)value);
}

static PyObject *finish_interrupt(void *arg, int64_t value)
{
    finishing();
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    return NULL;
}

static PyObject *finish_nothing(void *arg, int64_t value)
{
    finishing();
    return NULL;
}

static void job_release(void *arg)
{
    atomic_fetch_add(&releases, 1);
    atomic_fetch_add(&detached_releases, !PyGILState_Check());
    free(arg);
}

static int64_t bare_run(void *arg) { return (int64_t)(intptr_t)arg; }

static const treadle_job kinds[] = {
    {.run = job_run, .release = job_release},
    {.run = job_run, .finish = finish_text, .release = job_release},
    {.run = job_run, .finish = finish_error, .release = job_release},
    {.run = job_run, .finish = finish_interrupt, .release = job_release},
    {.run = job_run, .finish = finish_nothing, .release = job_release},
    {.run = bare_run},
};

/* submit(executor, kind, value, address of gates or 0) */
static PyObject *submit(PyObject *module, PyObject *args)
{
    PyObject *executor;
    int kind;
    long long value;
    unsigned long long gates;
    if (!PyArg_ParseTuple(args, "OiLK", &executor, &kind, &value, &gates))
        return NULL;
    if (kinds[kind].release == NULL)
        return treadle->submit(executor, &kinds[kind], (void *)(intptr_t)value);
    struct job *job = malloc(sizeof *job);
    *job = (struct job){.value = value, .gates = (void *)(uintptr_t)gates};
    return treadle->submit(executor, &kinds[kind], job);
}

static PyObject *counts(PyObject *module, PyObject *ignored)
{
    return Py_BuildValue("iii", runs, finishes, releases);
}

static PyObject *misplaced(PyObject *module, PyObject *ignored)
{
    return Py_BuildValue("iii", attached_runs, detached_finishes, detached_releases);
}

static PyObject *about(PyObject *module, PyObject *ignored)
{
    return Py_BuildValue("Inn", treadle->version, (Py_ssize_t)treadle->size, (Py_ssize_t)sizeof(treadle_api));
}

static PyMethodDef methods[] = {
    {"submit", submit, METH_VARARGS, NULL},
    {"counts", counts, METH_NOARGS, NULL},
    {"misplaced", misplaced, METH_NOARGS, NULL},
    {"about", about, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    return (treadle = treadle_import()) == NULL ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "counting", .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit_counting(void) { return PyModuleDef_Init(&definition); }
"""

INT, TEXT, ERROR, INTERRUPT, NOTHING, BARE = range(6)


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flags(include):
    paths = [include, sysconfig.get_path("include"), sysconfig.get_path("platinclude")]
    return [f"-isystem{path}" for path in paths]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    import treadle

    directory = tmp_path_factory.mktemp("capi")
    return compile_library(directory, "counting", SOURCE, *flags(treadle.get_include()))


@pytest.fixture(scope="module")
def counting(library):
    return load("counting", library)


@pytest.fixture
def job(counting):
    """Submits, and at the end of the test checks that every job that was submitted was released once."""
    before, submitted = counting.counts(), 0

    def submit(pool, kind=INT, value=0, gates=None):
        nonlocal submitted
        submitted += 1
        return counting.submit(pool, kind, value, gates.buffer_info()[0] if gates else 0)

    submit.released = lambda: counting.counts()[2] - before[2]
    submit.ran = lambda: counting.counts()[0] - before[0]
    submit.finished = lambda: counting.counts()[1] - before[1]
    yield submit
    assert eventually(lambda: submit.released() >= submitted)
    assert submit.released() == submitted
    assert counting.misplaced() == (0, 0, 0)


# ---- the example --------------------------------------------------------------------


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The directory of examples/native_extension, built as its setup.py says."""
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    directory = tmp_path_factory.mktemp("example") / "native_extension"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("*.so", "build", "__pycache__"))
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=directory, env=script_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module")
def montecarlo(example):
    (library,) = example.glob("montecarlo*.so")
    return load("montecarlo", library)


def test_example_estimates(montecarlo, make_native_pool):
    pool = make_native_pool(2)
    estimates = [montecarlo.estimate(pool, 200_000, seed=seed) for seed in range(8)]
    values = [future.result(LONG) for future in estimates]
    assert len(set(values)) == 8
    assert all(abs(value - math.pi) < 0.05 for value in values)
    assert montecarlo.estimate(pool, 200_000, seed=3).result(LONG) == values[3]


def test_example_fails_in_the_future(montecarlo, make_native_pool):
    future = montecarlo.estimate(make_native_pool(1), 0)
    with pytest.raises(ValueError, match="no samples"):
        future.result(LONG)


def test_example_refuses_in_the_call(montecarlo, make_native_pool):
    pool = make_native_pool(1)
    with pytest.raises(TypeError):
        montecarlo.estimate(None, 10)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown"):
        montecarlo.estimate(pool, 10)


def test_example_program(example):
    program = (example / "try_it.py").read_text().replace("20_000_000", "100_000")
    out = run_script(f"import sys; sys.path.insert(0, {str(example)!r})\n{program}")
    assert out.splitlines()[1].startswith("mean      3.1")


# ---- results ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 7, -(2**63), 2**63 - 1])
def test_int_without_finish(value, job, make_native_pool):
    assert job(make_native_pool(1), INT, value).result(LONG) == value


def test_result_of_finish(job, make_native_pool):
    assert job(make_native_pool(1), TEXT, 12).result(LONG) == "value 12"
    assert job.finished() == 1


@pytest.mark.parametrize(
    "kind, error, text",
    [(ERROR, ValueError, "refused 5"), (INTERRUPT, KeyboardInterrupt, "^$"), (NOTHING, SystemError, "finish")],
)
def test_exception_of_finish(kind, error, text, job, make_native_pool):
    pool = make_native_pool(1)
    future = job(pool, kind, 5)
    with pytest.raises(error, match=text):
        future.result(LONG)
    assert type(future.exception()) is error
    assert job(pool, TEXT, 6).result(LONG) == "value 6"  # the worker lives


def test_without_finish_and_release(counting, make_native_pool):
    assert counting.submit(make_native_pool(1), BARE, 99, 0).result(LONG) == 99


def test_released_before_the_result_is_seen(job, make_native_pool):
    pool = make_native_pool(2)
    for number in range(300):
        assert job(pool, TEXT, number).result(LONG) == f"value {number}"
        assert job.released() == number + 1


def test_future_semantics(job, make_native_pool, native):
    pool, gates, called = make_native_pool(1), array.array("q", [0, 0]), []
    future = job(pool, TEXT, 1, gates)
    assert type(future) is native.Future
    assert eventually(lambda: gates[0] == 1)
    assert future.running() and not future.done() and not future.cancel()
    with pytest.raises(TimeoutError):
        future.result(0.01)
    future.add_done_callback(called.append)
    gates[1] = 1
    assert concurrent.futures.wait([future], LONG).done == {future}
    assert eventually(lambda: called == [future])

    async def main():
        return await asyncio.wrap_future(job(pool, TEXT, 2))

    assert asyncio.run(main()) == "value 2"


def test_many(job, make_native_pool):
    pool = make_native_pool(4)
    futures = [job(pool, TEXT, number) for number in range(5000)]
    assert [future.result(LONG) for future in futures] == [f"value {number}" for number in range(5000)]
    assert (job.ran(), job.finished(), job.released()) == (5000, 5000, 5000)


@pytest.mark.parametrize("inline", [True, False], ids=["inline waits", "workers only"])
def test_whoever_lends_a_hand(inline, job, make_native_pool, caplog):
    # a waiter that runs the job, or finds it run by a worker without the GIL, must not finish it twice
    pool = make_native_pool(2, inline_waits=inline)

    def body():
        return [job(pool, TEXT, number).result(LONG) for number in range(3000)]

    values = body() if inline else pool.submit(body).result(LONG)
    assert values == [f"value {number}" for number in range(3000)]
    assert (job.ran(), job.finished(), job.released()) == (3000, 3000, 3000)
    assert not caplog.records


# ---- release, whatever happens ------------------------------------------------------


def test_cancelled(job, make_native_pool):
    pool, gates = make_native_pool(1), array.array("q", [0, 0])
    first = job(pool, INT, 1, gates)
    second = job(pool, INT, 2)
    assert second.cancel()
    gates[1] = 1
    assert first.result(LONG) == 1
    assert eventually(lambda: job.released() == 2)
    assert job.ran() == 1


def test_cancelled_by_shutdown(job, make_native_pool):
    pool, gates = make_native_pool(1), array.array("q", [0, 0])
    first = job(pool, INT, 1, gates)
    assert eventually(lambda: gates[0] == 1)
    queued = [job(pool, TEXT, number) for number in range(20)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in queued)
    assert job.released() == 20
    gates[1] = 1
    assert first.result(LONG) == 1
    assert (job.ran(), job.finished()) == (1, 0)


def test_submit_after_shutdown(job, make_native_pool):
    pool = make_native_pool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown"):
        job(pool)
    assert (job.ran(), job.released()) == (0, 1)


def test_submit_to_a_broken_pool(job, make_native_pool, caplog):
    pool = make_native_pool(1, initializer=divmod, initargs=(1, 0))
    with pytest.raises(concurrent.futures.BrokenExecutor):
        job(pool).result(LONG)
    with pytest.raises(concurrent.futures.BrokenExecutor):
        job(pool)
    assert eventually(lambda: job.released() == 2)
    assert job.ran() == 0


def test_no_thread_to_be_had(job, make_native_pool):
    pool = make_native_pool(1)

    def refuse():
        raise RuntimeError("can't start new thread")

    pool._spawn_worker = refuse
    with pytest.raises(RuntimeError, match="can't start new thread"):
        job(pool)
    assert (job.ran(), job.released()) == (0, 1)


@pytest.mark.parametrize("kind", ["none", "object", "type", "standard", "view", "future"])
def test_wrong_executor(kind, job, native, make_native_pool):
    pool = make_native_pool(1)
    wrong = {
        "none": None,
        "object": object(),
        "type": native.ThreadPoolExecutor,
        "standard": concurrent.futures.ThreadPoolExecutor(1),
        "view": pool.options(priority=1),
        "future": native.Future(),
    }[kind]
    with pytest.raises(TypeError, match="^a treadle.ThreadPoolExecutor is required, not '"):
        job(wrong)
    assert (job.ran(), job.released()) == (0, 1)


def test_executor_without_init(job, native):
    with pytest.raises(RuntimeError, match="__init__"):
        job(native.ThreadPoolExecutor.__new__(native.ThreadPoolExecutor))
    assert job.released() == 1


def test_subclass(job, native):
    class Pool(native.ThreadPoolExecutor):
        pass

    with Pool(1) as pool:
        assert job(pool, INT, 3).result(LONG) == 3


def test_exit_runs_what_is_queued(library):
    program = """
        import importlib.util, sys, threading, treadle
        spec = importlib.util.spec_from_file_location("counting", sys.argv[1])
        counting = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(counting)
        pool = treadle.ThreadPoolExecutor(2)
        for number in range(100):
            counting.submit(pool, 1, number, 0)
        # runs after the pool's threads have been joined
        import atexit
        atexit.register(lambda: print(counting.counts()))
    """
    assert run_script(program, library) == "(100, 100, 100)\n"


# ---- the header ---------------------------------------------------------------------


def test_version_and_size(counting):
    version, size, expected = counting.about()
    assert version == 1
    assert size == expected


def test_an_older_treadle_is_refused(tmp_path, native):
    header = (pathlib.Path(native.get_include()) / "treadle.h").read_text()
    newer = header.replace("#define TREADLE_API_VERSION 1", "#define TREADLE_API_VERSION 2")
    assert newer != header
    (tmp_path / "treadle.h").write_text(newer)
    library = compile_library(tmp_path, "counting", SOURCE, *flags(tmp_path))
    with pytest.raises(ImportError, match="version 1 is older than the 2 needed"):
        load("counting", library)


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")
def test_header_is_valid_cplusplus(tmp_path, native):
    source = tmp_path / "empty.cpp"
    source.write_text("#include <Python.h>\n#include <treadle.h>\nvoid *use() { return (void *)treadle_import; }\n")
    command = ["c++", "-std=c++11", "-fsyntax-only", "-Wall", "-Werror", *flags(native.get_include()), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_get_include(native):
    assert (pathlib.Path(native.get_include()) / "treadle.h").is_file()
