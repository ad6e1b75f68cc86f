#include "py/histogram.h"

#include <math.h>

static uint64_t
get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

static int
append_bucket(PyObject *list, double bound, uint64_t count)
{
    PyObject *pair = Py_BuildValue("(dK)", bound, (unsigned long long)count);
    int r = pair == NULL ? -1 : PyList_Append(list, pair);
    Py_XDECREF(pair);
    return r;
}

static PyObject *
bucket_list(const struct tdl_histogram *h, uint64_t *count)
{
    PyObject *list = PyList_New(0);
    int last = TDL_HISTOGRAM_BUCKETS - 2, r = list == NULL ? -1 : 0;
    while (last >= 0 && get(&h->buckets[last]) == 0)
        last--;
    for (int i = 0; r == 0 && i <= last; i++) {
        uint64_t n = get(&h->buckets[i]);
        *count += n;
        r = append_bucket(list, ldexp(1e-9, i + 1), n);
    }
    uint64_t above = get(&h->buckets[TDL_HISTOGRAM_BUCKETS - 1]);
    *count += above;
    if (r == 0)
        r = append_bucket(list, Py_HUGE_VAL, above);
    if (r < 0)
        Py_CLEAR(list);
    return list;
}

PyObject *
tdl_histogram_dict(const struct tdl_histogram *h)
{
    uint64_t count = 0;
    PyObject *buckets = bucket_list(h, &count);
    if (buckets == NULL)
        return NULL;
    return Py_BuildValue("{s:K,s:d,s:N}", "count", (unsigned long long)count, "sum",
                         (double)get(&h->sum) * 1e-9, "buckets", buckets);
}
