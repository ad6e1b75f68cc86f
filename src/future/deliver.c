#include "future/deliver.h"

#include "core/alloc.h"
#include "future/future.h"
#include "future/settle.h"

/* ---- lists ---------------------------------------------------------------------- */

struct tdl_delivery *
tdl_delivery_new(PyObject *destination, PyObject *source)
{
    struct tdl_delivery *delivery = tdl_calloc(1, sizeof *delivery);
    if (delivery == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    delivery->destination = Py_NewRef(destination);
    delivery->source = Py_NewRef(source);
    return delivery;
}

void
tdl_delivery_free(struct tdl_delivery *delivery)
{
    if (delivery == NULL)
        return;
    Py_DECREF(delivery->destination);
    Py_DECREF(delivery->source);
    tdl_free(delivery);
}

int
tdl_deliveries_push(struct tdl_deliveries *list, struct tdl_delivery *delivery,
                    PyObject *keeper)
{
    if (delivery->posted)
        return 0;
    delivery->posted = 1;
    delivery->keeper = Py_XNewRef(keeper);
    delivery->next = NULL;
    if (list->first == NULL)
        list->first = delivery;
    else
        list->last->next = delivery;
    list->last = delivery;
    list->count++;
    return 1;
}

struct tdl_deliveries
tdl_deliveries_take(struct tdl_deliveries *list)
{
    struct tdl_deliveries taken = *list;
    *list = (struct tdl_deliveries){0};
    return taken;
}

/* Take the first one out of a list that is nobody else's and let it go. */
static void
drop_first(struct tdl_deliveries *taken)
{
    struct tdl_delivery *delivery = taken->first;
    PyObject *keeper = delivery->keeper;
    taken->first = delivery->next;
    if (keeper == NULL) {
        tdl_delivery_free(delivery);
        return;
    }
    delivery->keeper = NULL;
    Py_DECREF(keeper); /* the last reference, perhaps */
}

void
tdl_deliveries_drop(struct tdl_deliveries *taken)
{
    while (taken->first != NULL)
        drop_first(taken);
}

int
tdl_deliveries_traverse(const struct tdl_deliveries *list, visitproc visit, void *arg)
{
    for (const struct tdl_delivery *one = list->first; one != NULL; one = one->next) {
        Py_VISIT(one->keeper);
        if (one->keeper == NULL) {
            Py_VISIT(one->destination);
            Py_VISIT(one->source);
        }
    }
    return 0;
}

/* ---- delivering ------------------------------------------------------------------ */

static int
call_with(PyObject *destination, PyObject *method, PyObject *value)
{
    PyObject *r = value == NULL ? PyObject_CallMethodNoArgs(destination, method)
                                : PyObject_CallMethodOneArg(destination, method, value);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* As asyncio.futures._copy_future_state(). */
static int
copy_outcome(struct tdl_state *st, PyObject *destination, FutureObject *source)
{
    int done = tdl_settle_is_done(st, destination);
    if (done != 0)
        return done < 0 ? -1 : 0;
    if (tdl_future_state(source) != TDL_FINISHED)
        return call_with(destination, st->names.cancel, NULL);
    PyObject *outcome = NULL, *exception;
    tdl_future_outcome(source, &outcome, &exception);
    if (exception != NULL) {
        Py_XSETREF(outcome, PyObject_CallOneArg(st->objects.aio_convert, exception));
        Py_DECREF(exception);
        exception = outcome;
        if (outcome == NULL)
            return -1;
    }
    int r = call_with(destination,
                      exception != NULL ? st->names.set_exception : st->names.set_result,
                      outcome == NULL ? Py_None : outcome);
    Py_XDECREF(outcome);
    return r;
}

/* Tell the loop's exception handler what went wrong with one pair.
 * Returns 0 or -1 with an exception set. */
static int
report(struct tdl_state *st, PyObject *loop, PyObject *destination)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyObject *exc = tdl_err_take();
    PyObject *context = Py_BuildValue("{s:s,s:N,s:O}", "message",
                                      "Exception while delivering the result of a pool's job",
                                      "exception", exc, "future", destination);
    if (context == NULL)
        return -1;
    int r = call_with(loop, st->names.call_exception_handler, context);
    Py_DECREF(context);
    return r;
}

/* A BaseException goes on to the loop, but not before the rest has been delivered:
 * nobody else would. */
int
tdl_deliver_all(struct tdl_state *st, struct tdl_deliveries *taken, PyObject *loop)
{
    PyObject *raised = NULL;
    while (taken->first != NULL) {
        struct tdl_delivery *one = taken->first;
        if (copy_outcome(st, one->destination, (FutureObject *)one->source) < 0 &&
            report(st, loop, one->destination) < 0)
            Py_XSETREF(raised, tdl_err_take());
        drop_first(taken);
    }
    if (raised == NULL)
        return 0;
    tdl_err_put_steal(raised);
    return -1;
}
