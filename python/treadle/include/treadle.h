/* treadle's C interface: native jobs on a treadle thread pool, without the GIL.
 *
 *     #include <Python.h>
 *     #include <treadle.h>
 *
 *     static const treadle_api *treadle;
 *     ... in module exec: if ((treadle = treadle_import()) == NULL) return -1;
 *
 *     PyObject *future = treadle->submit(executor, &job, arg);
 *
 * The header needs no library: everything goes through the capsule
 * `treadle._native._C_API`.  Its directory is what treadle.get_include() returns. */
#ifndef TREADLE_H
#define TREADLE_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TREADLE_API_VERSION 1
#define TREADLE_API_CAPSULE "treadle._native._C_API"

/* The signature of functions for ThreadPoolExecutor.submit_native(): `count`
 * buffers at `data` of `sizes` bytes each.  Called without the GIL; what it
 * returns becomes the future's result, an int. */
typedef int64_t (*treadle_native_function)(void **data, const size_t *sizes, size_t count);

/* A kind of native job.  Must stay valid until the last job of the kind is released. */
typedef struct {
    /* The work.  Called once, on a pool thread, without the GIL and without a
     * right to call into Python; not called if the future is cancelled first. */
    int64_t (*run)(void *arg);
    /* Make the future's result of what run() returned: a new reference, or NULL
     * with an exception set, which becomes the future's.  Called with the GIL
     * after run().  NULL: the result is an int, what run() returned. */
    PyObject *(*finish)(void *arg, int64_t value);
    /* Release `arg`.  Called with the GIL exactly once for each job, whether it
     * ran or not.  NULL: nothing to release. */
    void (*release)(void *arg);
} treadle_job;

typedef struct {
    unsigned version; /* TREADLE_API_VERSION of the treadle that is loaded */
    size_t size;      /* sizeof(treadle_api) there: later versions only append */
    /* Queue a native job on `executor`, a treadle.ThreadPoolExecutor.
     * Owns: takes `arg`, also on failure (release() is called).
     * Thread state: attached.  Returns a treadle.Future (new reference), or NULL
     * with TypeError, RuntimeError (after shutdown) or MemoryError set. */
    PyObject *(*submit)(PyObject *executor, const treadle_job *job, void *arg);
} treadle_api;

/* The interface of the installed treadle, or NULL with ImportError set when
 * that is too old for this header. */
static inline const treadle_api *
treadle_import(void)
{
    const treadle_api *api;
    PyObject *module = PyImport_ImportModule("treadle._native");
    if (module == NULL)
        return NULL;
    Py_DECREF(module);
    api = (const treadle_api *)PyCapsule_Import(TREADLE_API_CAPSULE, 0);
    if (api != NULL && api->version < TREADLE_API_VERSION) {
        PyErr_Format(PyExc_ImportError, "treadle C API version %u is older than the %u needed",
                     api->version, (unsigned)TREADLE_API_VERSION);
        return NULL;
    }
    return api;
}

#ifdef __cplusplus
}
#endif

#endif
