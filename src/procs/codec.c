#include "procs/codec.h"

#include <errno.h>
#include <unistd.h>

#include "procs/buffers.h"
#include "procs/functions.h"
#include "procs/pickling.h"
#include "procs/stores.h"
#include "py/errors.h"

enum { PIECES_ON_STACK = 16, KEEP_IDLE = 1 << 20 };

struct tdl_codec {
    struct tdl_state *st;
    PyObject *wrap; /* _ExceptionWithTraceback */
    struct tdl_pickling *pickling;
    struct tdl_functions *functions; /* NULL until one is called from here */
    struct tdl_callables *callables; /* NULL until one is defined */
    struct tdl_outbound out;
    struct tdl_stores stores; /* where messages come from */
    int calls_fd;
    unsigned generation; /* of the process that made it */
};

struct tdl_codec *
tdl_codec_new(struct tdl_state *st, PyObject *pickler)
{
    struct tdl_codec *codec = PyMem_Calloc(1, sizeof *codec);
    if (codec == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    codec->st = st;
    codec->calls_fd = -1;
    codec->generation = st->generation;
    tdl_outbound_init(&codec->out, st);
    tdl_stores_init(&codec->stores);
    const struct tdl_import process[] = {{"_ExceptionWithTraceback", &codec->wrap},
                                         {NULL, NULL}};
    codec->pickling = tdl_pickling_new(st, pickler);
    if (codec->pickling == NULL ||
        tdl_state_import("concurrent.futures.process", process) < 0) {
        tdl_codec_free(codec);
        return NULL;
    }
    return codec;
}

void
tdl_codec_free(struct tdl_codec *codec)
{
    if (codec == NULL)
        return;
    tdl_outbound_fini(&codec->out);
    tdl_stores_fini(&codec->stores);
    if (codec->calls_fd >= 0 && codec->generation == codec->st->generation)
        close(codec->calls_fd); /* a forked child may have closed the number itself */
    tdl_functions_free(codec->functions);
    tdl_callables_free(codec->callables);
    tdl_pickling_free(codec->pickling);
    Py_XDECREF(codec->wrap);
    PyMem_Free(codec);
}

int
tdl_codec_traverse(struct tdl_codec *codec, visitproc visit, void *arg)
{
    return tdl_pickling_traverse(codec->pickling, visit, arg);
}

/* ---- stores ----------------------------------------------------------------------------------- */

int
tdl_codec_open(struct tdl_codec *codec)
{
    int fd = tdl_blocks_create(0, 0);
    if (fd < 0)
        return fd;
    int r = tdl_blocks_own(fd, &codec->out.blocks);
    if (r < 0) {
        close(fd);
        return r;
    }
    codec->calls_fd = fd;
    return 0;
}

int
tdl_codec_calls_fd(struct tdl_codec *codec)
{
    return codec->calls_fd;
}

int
tdl_codec_add_worker(struct tdl_codec *codec, uint32_t worker)
{
    int fd = tdl_blocks_create(0, worker);
    int r = fd < 0 ? fd : tdl_stores_add(&codec->stores, worker, fd);
    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}

int
tdl_codec_join(struct tdl_codec *codec, int calls_fd, int results_fd)
{
    int r = tdl_stores_add(&codec->stores, 0, calls_fd);
    if (r == 0)
        r = tdl_blocks_own(results_fd, &codec->out.blocks);
    if (r == 0)
        codec->out.store = tdl_blocks_number(codec->out.blocks);
    return r;
}

void
tdl_codec_lost_worker(struct tdl_codec *codec, uint32_t worker)
{
    if (codec->out.blocks != NULL)
        tdl_blocks_reclaim(codec->out.blocks, worker);
    tdl_stores_lose(&codec->stores, worker);
}

bool
tdl_codec_trim(struct tdl_codec *codec)
{
    struct tdl_blocks_stats stats;
    if (codec->out.blocks == NULL)
        return false;
    tdl_blocks_trim(codec->out.blocks, KEEP_IDLE);
    tdl_blocks_stats(codec->out.blocks, &stats);
    return stats.idle > KEEP_IDLE || stats.blocks > 0;
}

void
tdl_codec_stats(struct tdl_codec *codec, struct tdl_blocks_stats *stats)
{
    *stats = (struct tdl_blocks_stats){0};
    if (codec->out.blocks != NULL)
        tdl_blocks_stats(codec->out.blocks, stats);
}

/* A forked child writes nothing to its parent's stores. */
static bool
is_mine(struct tdl_codec *codec)
{
    if (codec->generation == codec->st->generation)
        return true;
    if (codec->out.blocks != NULL)
        tdl_blocks_disown(codec->out.blocks);
    return false;
}

void
tdl_codec_drop(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    struct tdl_envelope e;
    if (!tdl_codec_has_blocks(data, size) || tdl_envelope_read(data, size, &e) < 0 ||
        !is_mine(codec))
        return;
    struct tdl_blocks_view *view = NULL;
    bool own = codec->out.blocks != NULL && e.store == codec->out.store;
    if (!own)
        view = tdl_stores_take(&codec->stores, e.store);
    for (uint32_t i = 0; i < e.nrefs; i++) {
        struct tdl_block ref = tdl_envelope_ref(&e, i);
        if (own)
            tdl_blocks_drop(codec->out.blocks, &ref);
        else if (view != NULL)
            tdl_blocks_release(view, &ref);
    }
    if (view != NULL)
        tdl_blocks_view_unref(view);
}

void
tdl_codec_sent(struct tdl_codec *codec, const uint8_t *data, size_t size, uint32_t worker)
{
    struct tdl_envelope e;
    if (!tdl_codec_has_blocks(data, size) || codec->out.blocks == NULL ||
        tdl_envelope_read(data, size, &e) < 0 || (e.flags & TDL_ENVELOPE_KEEP) != 0)
        return;
    for (uint32_t i = 0; i < e.nrefs; i++) {
        struct tdl_block ref = tdl_envelope_ref(&e, i);
        tdl_blocks_hand(codec->out.blocks, &ref, worker);
    }
}

void
tdl_codec_received(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    struct tdl_envelope e;
    if (tdl_codec_has_blocks(data, size) && tdl_envelope_read(data, size, &e) == 0)
        tdl_stores_expect(&codec->stores, e.store);
}

void
tdl_codec_keep(uint8_t *data, size_t size)
{
    if (tdl_codec_has_blocks(data, size))
        data[0] |= TDL_ENVELOPE_KEEP;
}

/* Say in a note on the raised exception which part of `value`, a tuple of what is named
 * in `names`, is the one that cannot be pickled. */
static void
explain(struct tdl_codec *codec, PyObject *value, const char *names)
{
    PyObject *raised = tdl_err_take();
    PyObject *pickler = tdl_pickling_pickler(codec->pickling);
    PyObject *module = PyImport_ImportModule("treadle._culprit");
    PyObject *list = module == NULL ? NULL : PyUnicode_FromString(names);
    PyObject *split = list == NULL ? NULL : PyUnicode_Split(list, NULL, -1);
    PyObject *done = split == NULL ? NULL
                                   : PyObject_CallMethod(module, "explain", "OOOO", raised,
                                                         value, pickler, split);
    Py_XDECREF(done);
    Py_XDECREF(split);
    Py_XDECREF(list);
    Py_XDECREF(module);
    if (done == NULL)
        PyErr_Clear(); /* it was to help only */
    tdl_err_put_steal(raised);
}

static int
pickle_value(struct tdl_codec *codec, struct tdl_sink *sink, PyObject *value)
{
    if (tdl_pickling_dump(codec->pickling, sink, value) == 0)
        return 0;
    PyObject *raised = tdl_err_take();
    PyObject *tuple = PyTuple_Pack(1, value);
    tdl_err_put_steal(raised);
    if (tuple != NULL)
        explain(codec, tuple, "result");
    Py_XDECREF(tuple);
    return -1;
}

static int
pickle_call(struct tdl_codec *codec, struct tdl_sink *sink, PyObject *call, bool whole)
{
    if (tdl_pickling_dump(codec->pickling, sink, call) == 0)
        return 0;
    explain(codec, call, whole ? "fn args kwargs" : "args kwargs");
    return -1;
}

/* ---- encoding ------------------------------------------------------------------------------------ */

/* Begin a message: reserve the byte of flags. */
static int
begin(struct tdl_codec *codec, struct tdl_sink *sink, struct tdl_bytes *out)
{
    is_mine(codec);
    tdl_sink_init(sink, out);
    return tdl_sink_put_byte(sink, 0);
}

/* End it: `r` is what encoding came to. */
static int
end(struct tdl_codec *codec, struct tdl_sink *sink, size_t start, unsigned flags, int r)
{
    if (r >= 0)
        r = tdl_buffers_send(&codec->out, sink, start, flags);
    PyObject *raised = r < 0 ? tdl_err_take() : NULL;
    if (r < 0)
        sink->out->size = start;
    tdl_sink_fini(sink);
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return r;
}

int
tdl_codec_put_value(struct tdl_codec *codec, struct tdl_bytes *out, PyObject *value)
{
    struct tdl_sink sink;
    size_t start = out->size;
    unsigned flags = 0;
    int r = begin(codec, &sink, out);
    if (r == 0)
        r = tdl_compact_encode(&sink, value);
    if (r == 0) {
        flags = TDL_ENVELOPE_PICKLE;
        r = pickle_value(codec, &sink, value);
    }
    return end(codec, &sink, start, flags, r);
}

static PyObject *
keywords_of(PyObject *const *values, PyObject *kwnames)
{
    PyObject *keywords = PyDict_New();
    Py_ssize_t n = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; keywords != NULL && i < n; i++)
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, i), values[i]) < 0)
            Py_CLEAR(keywords);
    return keywords;
}

/* (args, kwargs), with the callable before them if `whole`. */
static PyObject *
pack_call(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, bool whole)
{
    PyObject *positional = PyTuple_New(nargs - 1);
    PyObject *keywords = keywords_of(args + nargs, kwnames);
    PyObject *call = NULL;
    if (positional != NULL && keywords != NULL) {
        for (Py_ssize_t i = 1; i < nargs; i++)
            PyTuple_SET_ITEM(positional, i - 1, Py_NewRef(args[i]));
        call = whole ? PyTuple_Pack(3, args[0], positional, keywords)
                     : PyTuple_Pack(2, positional, keywords);
    }
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return call;
}

/* With a pickler of others: whether it, too, sends the function by name. */
static int
sends_by_name(void *arg, PyObject *function)
{
    struct tdl_codec *codec = arg;
    struct tdl_bytes theirs, stock;
    struct tdl_sink sinks[2];
    if (!tdl_pickling_is_custom(codec->pickling))
        return 1;
    struct tdl_pickling *plain = tdl_pickling_new(codec->st, NULL);
    tdl_bytes_init(&theirs);
    tdl_bytes_init(&stock);
    tdl_sink_init(&sinks[0], &theirs);
    tdl_sink_init(&sinks[1], &stock);
    int r = plain == NULL ? -1 : tdl_pickling_dump(codec->pickling, &sinks[0], function);
    if (r == 0)
        r = tdl_pickling_dump(plain, &sinks[1], function);
    if (r == 0)
        r = theirs.size == stock.size && memcmp(theirs.data, stock.data, stock.size) == 0;
    for (int i = 0; i < 2; i++)
        tdl_sink_fini(&sinks[i]);
    tdl_bytes_fini(&theirs);
    tdl_bytes_fini(&stock);
    tdl_pickling_free(plain);
    return r;
}

static int
number_of(struct tdl_codec *codec, PyObject *function, uint32_t *number)
{
    if (codec->functions == NULL)
        codec->functions = tdl_functions_new(codec->st, sends_by_name, codec);
    if (codec->functions == NULL)
        return -1;
    if (tdl_functions_number(codec->functions, function, number) < 0) {
        /* The pickler that is asked below says what is wrong. */
        PyErr_Clear();
        *number = 0;
    }
    return 0;
}

int
tdl_codec_put_call(struct tdl_codec *codec, struct tdl_bytes *out, uint32_t *function,
                   PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_sink sink;
    size_t start = out->size;
    unsigned flags = 0;
    if (number_of(codec, args[0], function) < 0)
        return -1;
    int r = begin(codec, &sink, out);
    if (r == 0 && *function != 0)
        r = tdl_compact_encode_call(&sink, args + 1, nargs - 1, kwnames);
    if (r == 0) {
        flags = TDL_ENVELOPE_PICKLE | (*function == 0 ? TDL_ENVELOPE_WHOLE : 0);
        PyObject *call = pack_call(args, nargs, kwnames, *function == 0);
        r = call == NULL ? -1 : pickle_call(codec, &sink, call, *function == 0);
        Py_XDECREF(call);
    }
    return end(codec, &sink, start, flags, r);
}

/* An exception that carries the text of its traceback: a new reference. */
static PyObject *
wrap_exception(struct tdl_codec *codec, PyObject *exception)
{
    PyObject *tb = PyException_GetTraceback(exception);
    PyObject *wrapped =
        PyObject_CallFunctionObjArgs(codec->wrap, exception, tb == NULL ? Py_None : tb, NULL);
    Py_XDECREF(tb);
    return wrapped;
}

static int
put_exception(struct tdl_codec *codec, struct tdl_bytes *out, PyObject *exception)
{
    PyObject *wrapped = wrap_exception(codec, exception);
    int r = wrapped == NULL ? -1 : tdl_codec_put_value(codec, out, wrapped);
    Py_XDECREF(wrapped);
    return r;
}

int
tdl_codec_put_exception(struct tdl_codec *codec, struct tdl_bytes *out, PyObject *exception)
{
    if (put_exception(codec, out, exception) == 0)
        return 0;
    PyObject *raised = tdl_err_take();
    int r = put_exception(codec, out, raised);
    Py_DECREF(raised);
    return r;
}

/* ---- decoding -------------------------------------------------------------------------------------- */

/* What a body is decoded into: one value, or what a call consists of. */
struct decoded {
    PyObject *value; /* NULL for the compact form of a call */
    PyObject *args;
    PyObject *kwargs;
};

static int
decode_compact(struct tdl_arrival *arrival, bool call, struct decoded *d)
{
    struct tdl_piece first[PIECES_ON_STACK], *pieces = first;
    if (arrival->nparts > PIECES_ON_STACK)
        pieces = PyMem_Malloc(arrival->nparts * sizeof *pieces);
    if (pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int r = tdl_buffers_pieces(arrival, pieces);
    if (r == 0) {
        const struct tdl_incoming in = {.data = arrival->body,
                                        .size = arrival->body_size,
                                        .pieces = pieces,
                                        .npieces = arrival->nparts};
        if (call)
            r = tdl_compact_decode_call(arrival->st, &in, &d->args, &d->kwargs);
        else
            r = (d->value = tdl_compact_decode(arrival->st, &in)) == NULL ? -1 : 0;
    }
    if (pieces != first)
        PyMem_Free(pieces);
    return r;
}

static int
decode_pickle(struct tdl_codec *codec, struct tdl_arrival *arrival, struct decoded *d)
{
    PyObject *buffers = NULL;
    if (arrival->nparts > 0 && (buffers = tdl_buffers_objects(arrival)) == NULL)
        return -1;
    d->value = tdl_pickling_load(codec->pickling, arrival->body, arrival->body_size, buffers);
    Py_XDECREF(buffers);
    return d->value == NULL ? -1 : 0;
}

static int
decode(struct tdl_codec *codec, const uint8_t *data, size_t size, bool call, bool whole,
       struct decoded *d)
{
    struct tdl_arrival arrival;
    struct tdl_envelope *e = &arrival.envelope;
    *d = (struct decoded){0};
    if (tdl_envelope_read(data, size, e) < 0 ||
        ((e->flags & TDL_ENVELOPE_WHOLE) != 0) != whole) {
        tdl_compact_malformed(codec->st, "no envelope");
        return -1;
    }
    struct tdl_blocks_view *view = NULL;
    if ((e->flags & TDL_ENVELOPE_REFS) != 0)
        view = tdl_stores_take(&codec->stores, e->store);
    int r = tdl_buffers_open(codec->st, &arrival, view);
    if (r == 0)
        r = (e->flags & TDL_ENVELOPE_PICKLE) != 0 ? decode_pickle(codec, &arrival, d)
                                                  : decode_compact(&arrival, call, d);
    tdl_buffers_close(&arrival);
    return r;
}

PyObject *
tdl_codec_get_value(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    struct decoded d;
    return decode(codec, data, size, false, false, &d) < 0 ? NULL : d.value;
}

PyObject *
tdl_codec_get_exception(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    PyObject *value = tdl_codec_get_value(codec, data, size);
    if (value == NULL || PyExceptionInstance_Check(value))
        return value;
    PyErr_Format(PyExc_TypeError, "the exception of a task unpickled as '%.200s'",
                 Py_TYPE(value)->tp_name);
    Py_DECREF(value);
    return NULL;
}

/* A pickled call is a tuple of two, or of three with the callable first. */
static int
unpack_call(struct tdl_codec *codec, PyObject *value, bool whole, struct tdl_call *call)
{
    Py_ssize_t n = whole ? 3 : 2;
    if (!PyTuple_CheckExact(value) || PyTuple_GET_SIZE(value) != n ||
        !PyTuple_CheckExact(PyTuple_GET_ITEM(value, n - 2)) ||
        !PyDict_CheckExact(PyTuple_GET_ITEM(value, n - 1))) {
        tdl_compact_malformed(codec->st, "no call");
        return -1;
    }
    if (whole)
        call->callable = Py_NewRef(PyTuple_GET_ITEM(value, 0));
    call->args = Py_NewRef(PyTuple_GET_ITEM(value, n - 2));
    call->kwargs = Py_NewRef(PyTuple_GET_ITEM(value, n - 1));
    return 0;
}

int
tdl_codec_get_call(struct tdl_codec *codec, uint32_t function, const uint8_t *data, size_t size,
                   struct tdl_call *call)
{
    struct decoded d;
    *call = (struct tdl_call){0};
    if (decode(codec, data, size, true, function == 0, &d) < 0)
        return -1;
    if (d.value == NULL) {
        call->args = d.args;
        call->kwargs = d.kwargs;
    }
    int r = d.value == NULL ? 0 : unpack_call(codec, d.value, function == 0, call);
    Py_XDECREF(d.value);
    if (r == 0 && function != 0) {
        if (codec->callables == NULL)
            codec->callables = tdl_callables_new(codec->st);
        if (codec->callables != NULL)
            call->callable = tdl_callables_get(codec->callables, function);
        r = call->callable == NULL ? -1 : 0;
    }
    if (r < 0) {
        Py_CLEAR(call->callable);
        Py_CLEAR(call->args);
        Py_CLEAR(call->kwargs);
    }
    return r;
}

/* ---- functions ---------------------------------------------------------------------------------------- */

int
tdl_codec_function(struct tdl_codec *codec, uint32_t function, const uint8_t **data,
                   size_t *size)
{
    if (codec->functions == NULL)
        return -ENOENT;
    return tdl_functions_definition(codec->functions, function, data, size);
}

int
tdl_codec_define(struct tdl_codec *codec, uint32_t function, const uint8_t *data, size_t size)
{
    if (codec->callables == NULL)
        codec->callables = tdl_callables_new(codec->st);
    if (codec->callables == NULL)
        return -1;
    return tdl_callables_define(codec->callables, function, data, size);
}
