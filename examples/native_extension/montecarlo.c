/* An extension that runs its own C code on a treadle pool, without the GIL.
 *
 *     estimate(executor, samples, seed=0) -> Future[float]
 *
 * estimates pi by throwing `samples` random points at a square.  What such an
 * extension needs of treadle is in three places: the job's functions, the job's
 * table, and the call of submit(). */
#include <Python.h>
#include <treadle.h>

static const treadle_api *treadle;

struct throw
{
    uint64_t samples, seed;
};

/* ---- the job ---------------------------------------------------------------------- */

/* A number in [0, 1) and the next state: xorshift64*. */
static double
draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * UINT64_C(2685821657736338717)) >> 11) * 0x1p-53;
}

/* On a pool thread, without the GIL: nothing of Python may be touched here. */
static int64_t
throw_run(void *arg)
{
    const struct throw *t = arg;
    uint64_t state = t->seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    int64_t hits = 0;
    for (uint64_t i = 0; i < t->samples; i++) {
        double x = draw(&state), y = draw(&state);
        hits += x * x + y * y < 1.0;
    }
    return hits;
}

/* With the GIL: make the future's result.  An exception set here is the future's. */
static PyObject *
throw_finish(void *arg, int64_t hits)
{
    const struct throw *t = arg;
    if (t->samples == 0) {
        PyErr_SetString(PyExc_ValueError, "no samples, no estimate");
        return NULL;
    }
    return PyFloat_FromDouble(4.0 * (double)hits / (double)t->samples);
}

/* With the GIL, exactly once: also for a job that was cancelled or never queued. */
static void
throw_release(void *arg)
{
    PyMem_Free(arg);
}

static const treadle_job throw_job = {
    .run = throw_run,
    .finish = throw_finish,
    .release = throw_release,
};

/* ---- the module ------------------------------------------------------------------- */

static PyObject *
estimate(PyObject *module, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"executor", "samples", "seed", NULL};
    PyObject *executor;
    unsigned long long samples, seed = 0;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "OK|K:estimate", names, &executor, &samples,
                                     &seed))
        return NULL;
    struct throw *t = PyMem_Malloc(sizeof *t);
    if (t == NULL)
        return PyErr_NoMemory();
    t->samples = samples;
    t->seed = seed;
    /* takes t, also when it fails */
    return treadle->submit(executor, &throw_job, t);
}

static PyMethodDef methods[] = {
    {"estimate", (PyCFunction)(void (*)(void))estimate, METH_VARARGS | METH_KEYWORDS,
     "estimate(executor, samples, seed=0)\n--\n\n"
     "Estimate pi on a thread of executor, a treadle.ThreadPoolExecutor; return the Future."},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    (void)module;
    treadle = treadle_import();
    return treadle == NULL ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "montecarlo", .m_doc = "Monte Carlo on a treadle pool.",
    .m_methods = methods,  .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_montecarlo(void)
{
    return PyModuleDef_Init(&definition);
}
