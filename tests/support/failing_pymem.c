/* Loaded by loop_fault_program.py: makes one allocation of CPython's fail, of those that are made for the extension
 * under test.
 *
 * An allocation counts when code inside [low, high), the mapping of the extension, is among the nearest callers: the
 * interpreter and asyncio's own C code do not survive failures of theirs everywhere. Any thread; no locks. */
#include <Python.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { NEAR = 7 }; /* frames, this file's two included */

static PyMemAllocatorEx below[3];
static uintptr_t low, high;
static atomic_long seen, fail_at;

/* How functions of CPython begin that crash when their allocation fails: without a GIL, 3.13 drops a list
 * whose items cannot be allocated before it has set them to NULL; 3.12 and 3.13 drop the code of a
 * def or lambda twice. */
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000
#define DEADLY "PyList_New"
#elif PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000
#define DEADLY "PyFunction_New"
#endif

static int
is_deadly(void *const *frames, int depth)
{
#ifdef DEADLY
    Dl_info info;
    for (int i = 1; i < depth && i < 4; i++)
        if (dladdr(frames[i], &info) != 0 && info.dli_sname != NULL &&
            strncmp(info.dli_sname, DEADLY, strlen(DEADLY)) == 0)
            return 1;
#endif
    return depth == 0;
}

static int
is_for_the_extension(void)
{
    void *frames[NEAR];
    int depth = backtrace(frames, NEAR);
    if (is_deadly(frames, depth))
        return 0;
    for (int i = 0; i < depth; i++)
        if ((uintptr_t)frames[i] >= low && (uintptr_t)frames[i] < high)
            return 1;
    return 0;
}

static int
must_fail(void)
{
    return atomic_load(&fail_at) != 0 && is_for_the_extension() &&
           atomic_fetch_add(&seen, 1) + 1 == atomic_load(&fail_at);
}

static void *
failing_malloc(void *context, size_t size)
{
    PyMemAllocatorEx *real = context;
    return must_fail() ? NULL : real->malloc(real->ctx, size);
}

static void *
failing_calloc(void *context, size_t count, size_t size)
{
    PyMemAllocatorEx *real = context;
    return must_fail() ? NULL : real->calloc(real->ctx, count, size);
}

static void *
failing_realloc(void *context, void *block, size_t size)
{
    PyMemAllocatorEx *real = context;
    return must_fail() ? NULL : real->realloc(real->ctx, block, size);
}

static void
passing_free(void *context, void *block)
{
    PyMemAllocatorEx *real = context;
    real->free(real->ctx, block);
}

/* Watch allocations made for code in [from, to). Once in a process. */
void
failing_pymem_watch(uintptr_t from, uintptr_t to)
{
    static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM,
                                                   PYMEM_DOMAIN_OBJ};
    void *frames[NEAR];
    backtrace(frames, NEAR); /* the first call loads a library */
    low = from;
    high = to;
    for (int i = 0; i < 3; i++) {
        PyMemAllocatorEx hook = {&below[i], failing_malloc, failing_calloc, failing_realloc,
                                 passing_free};
        PyMem_GetAllocator(domains[i], &below[i]);
        PyMem_SetAllocator(domains[i], &hook);
    }
}

/* Count from 0 again, and let the nth allocation from now fail (1: the next one; 0: none). */
void
failing_pymem_arm(long nth)
{
    atomic_store(&fail_at, nth);
    atomic_store(&seen, 0);
}

/* How many allocations were seen since failing_pymem_arm(). */
long
failing_pymem_seen(void)
{
    return atomic_load(&seen);
}
