#include "procs/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/segment.h"
#include "procs/compact.h"
#include "procs/pickling.h"
#include "py/errors.h"

typedef struct SharedObject {
    PyObject_HEAD
    struct tdl_state *st;
    PyObject *weakrefs;
    PyObject *self; /* a weak reference to this */
    char *memory;   /* NULL until it is mapped */
    size_t size;
    int fd; /* owned; -1 if there is none */
    uint64_t device;
    uint64_t inode;
    struct SharedObject *next; /* st->shared_lock; those that are mapped */
} SharedObject;

/* ---- the list of those that are mapped ------------------------------------------------------- */

static void
link_in(SharedObject *self)
{
    tdl_lock_acquire(&self->st->shared_lock);
    self->next = self->st->shared;
    self->st->shared = self;
    tdl_lock_release(&self->st->shared_lock);
}

static void
unlink_from(SharedObject *self)
{
    tdl_lock_acquire(&self->st->shared_lock);
    SharedObject **at = &self->st->shared;
    while (*at != NULL && *at != self)
        at = &(*at)->next;
    if (*at != NULL)
        *at = self->next;
    tdl_lock_release(&self->st->shared_lock);
}

static SharedObject *
containing_locked(struct tdl_state *st, const void *memory, size_t size)
{
    uintptr_t at = (uintptr_t)memory;
    for (SharedObject *s = st->shared; s != NULL; s = s->next) {
        uintptr_t first = (uintptr_t)s->memory;
        if (at >= first && at - first < s->size && size <= s->size - (at - first))
            return s;
    }
    return NULL;
}

bool
tdl_shared_contains(struct tdl_state *st, const void *memory, size_t size)
{
    if (size == 0)
        return false;
    tdl_lock_acquire(&st->shared_lock);
    bool found = containing_locked(st, memory, size) != NULL;
    tdl_lock_release(&st->shared_lock);
    return found;
}

PyObject *
tdl_shared_find(struct tdl_state *st, const void *memory, size_t size,
                struct tdl_shared_ref *ref, uint64_t *offset)
{
    tdl_lock_acquire(&st->shared_lock);
    SharedObject *s = size == 0 ? NULL : containing_locked(st, memory, size);
    /* The caller has a buffer of it, so it does not go away. */
    Py_XINCREF(s);
    tdl_lock_release(&st->shared_lock);
    if (s == NULL)
        return NULL;
    *offset = (uint64_t)((const char *)memory - s->memory);
    *ref = (struct tdl_shared_ref){
        .device = s->device,
        .inode = s->inode,
        .size = s->size,
        .pid = (int32_t)getpid(),
        .fd = s->fd,
    };
    return (PyObject *)s;
}

/* A new reference to the one that is mapped here already, or NULL without an exception. */
static PyObject *
known(struct tdl_state *st, const struct tdl_shared_ref *ref)
{
    PyObject *weak = NULL;
    tdl_lock_acquire(&st->shared_lock);
    for (SharedObject *s = st->shared; s != NULL && weak == NULL; s = s->next)
        if (s->inode == ref->inode && s->device == ref->device && s->size == ref->size)
            weak = Py_NewRef(s->self);
    tdl_lock_release(&st->shared_lock);
    if (weak == NULL)
        return NULL;
    PyObject *object = tdl_weakref_get(weak);
    Py_DECREF(weak);
    return object;
}

/* ---- the object ----------------------------------------------------------------------------------- */

/* An object that owns `fd` (closed if there is none) but is not mapped. */
static SharedObject *
new_shared_steal(struct tdl_state *st, int fd)
{
    PyTypeObject *type = st->objects.SharedBuffer;
    SharedObject *self = (SharedObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        close(fd);
        return NULL;
    }
    self->st = st;
    self->fd = fd;
    self->self = PyWeakref_NewRef((PyObject *)self, NULL);
    if (self->self == NULL)
        Py_CLEAR(self);
    return self;
}

static int
map_shared(SharedObject *self)
{
    struct stat status;
    if (fstat(self->fd, &status) < 0)
        return tdl_raise_errno(-errno);
    void *memory =
        mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
    if (memory == MAP_FAILED)
        return tdl_raise_errno(-errno);
    self->memory = memory;
    self->size = (size_t)status.st_size;
    self->device = (uint64_t)status.st_dev;
    self->inode = (uint64_t)status.st_ino;
    link_in(self);
    return 0;
}

static PyObject *
mapped_steal(SharedObject *self)
{
    if (self != NULL && map_shared(self) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
shared_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"size", NULL};
    Py_ssize_t size;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n:SharedBuffer", names, &size))
        return NULL;
    if (size <= 0)
        return PyErr_Format(PyExc_ValueError, "size must be at least 1 byte, not %zd", size);
    struct tdl_state *st = tdl_state_by_type(type);
    if (st == NULL)
        return NULL;
    /* tells multiprocessing how to pass it on */
    PyObject *module = PyImport_ImportModule("treadle._shared");
    if (module == NULL)
        return NULL;
    Py_DECREF(module);
    int fd = tdl_segment_file("treadle-shared", (size_t)size);
    if (fd < 0) {
        tdl_raise_errno(fd);
        return NULL;
    }
    return mapped_steal(new_shared_steal(st, fd));
}

static void
shared_dealloc(PyObject *op)
{
    SharedObject *self = (SharedObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (self->memory != NULL) {
        unlink_from(self);
        munmap(self->memory, self->size);
    }
    if (self->fd >= 0)
        close(self->fd);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    Py_XDECREF(self->self);
    type->tp_free(op);
    Py_DECREF(type);
}

static int
shared_getbuffer(PyObject *op, Py_buffer *view, int flags)
{
    SharedObject *self = (SharedObject *)op;
    return PyBuffer_FillInfo(view, op, self->memory, (Py_ssize_t)self->size, 0, flags);
}

static Py_ssize_t
shared_length(PyObject *op)
{
    return (Py_ssize_t)((SharedObject *)op)->size;
}

static PyObject *
shared_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<treadle.SharedBuffer of %zu bytes>",
                                ((SharedObject *)op)->size);
}

static PyObject *
shared_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(((SharedObject *)op)->fd);
}

/* In a pool the buffer travels beside the pickle, where it is known for what it is. */
static PyObject *
shared_reduce(PyObject *op, PyObject *Py_UNUSED(protocol))
{
    SharedObject *self = (SharedObject *)op;
    if (!tdl_pickling_active()) {
        PyErr_SetString(
            PyExc_TypeError,
            "a SharedBuffer is not data: pass it to a task of a treadle pool or to a process "
            "of multiprocessing, or pickle bytes(buffer) for a copy of what is in it");
        return NULL;
    }
    PyObject *buffer = PyPickleBuffer_FromObject(op);
    if (buffer == NULL)
        return NULL;
    return Py_BuildValue("O(N)", self->st->objects.shared_whole, buffer);
}

static PyMethodDef shared_methods[] = {
    {"fileno", shared_fileno, METH_NOARGS,
     "The descriptor of the memory, which stays the buffer's: not to be closed."},
    {"__reduce_ex__", shared_reduce, METH_O,
     "Pass the buffer on by reference, while a pool pickles; TypeError elsewhere."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef shared_members[] = {
    {"size", T_PYSSIZET, offsetof(SharedObject, size), READONLY, "Its size in bytes."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SharedObject, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot shared_slots[] = {
    {Py_tp_new, shared_new},
    {Py_tp_dealloc, shared_dealloc},
    {Py_tp_repr, shared_repr},
    {Py_tp_methods, shared_methods},
    {Py_tp_members, shared_members},
    {Py_bf_getbuffer, shared_getbuffer},
    {Py_sq_length, shared_length},
    {Py_tp_doc,
     "SharedBuffer(size)\n--\n\n"
     "size bytes of memory, zero at first, that processes share.\n\n"
     "It has no name: pass it to a task of a treadle pool, or return it from one, and the\n"
     "other process gets the same memory instead of a copy; also as the memory of a numpy\n"
     "array (see shared_array()).  To a process of multiprocessing it can be passed as\n"
     "well.  It supports the buffer protocol: memoryview(buffer) reads and writes it.\n"
     "Writes are seen by all at once and not ordered in any way; use a lock where that\n"
     "matters.  The memory is freed when the last process that has it drops it or ends,\n"
     "however it ends.\n\n"
     "Raises ValueError for a size below 1 and OSError if the system has no room."},
    {0, NULL},
};

static PyType_Spec shared_spec = {
    .name = "treadle.SharedBuffer",
    .basicsize = sizeof(SharedObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = shared_slots,
};

/* ---- what comes from another process ------------------------------------------------------------------ */

/* A descriptor for `fd` of process `pid`, or -errno. */
static int
open_through_proc(const struct tdl_shared_ref *ref)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)ref->pid, (int)ref->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Where /proc is not there; takes the right to trace the process. */
static int
open_through_pidfd(const struct tdl_shared_ref *ref)
{
#if defined(SYS_pidfd_open) && defined(SYS_pidfd_getfd)
    int pidfd = (int)syscall(SYS_pidfd_open, ref->pid, 0);
    if (pidfd < 0)
        return -errno;
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, ref->fd, 0);
    int r = fd < 0 ? -errno : fd;
    close(pidfd);
    return r;
#else
    (void)ref;
    return -ENOSYS;
#endif
}

static bool
is_file(int fd, const struct tdl_shared_ref *ref)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
           (uint64_t)status.st_dev == ref->device && (uint64_t)status.st_ino == ref->inode &&
           (uint64_t)status.st_size == ref->size && ref->size > 0;
}

/* A descriptor of the very file, or -errno. */
static int
open_file(const struct tdl_shared_ref *ref)
{
    int error = -ENOENT;
    int (*const ways[])(const struct tdl_shared_ref *) = {open_through_proc,
                                                          open_through_pidfd};
    for (int i = 0; i < 2; i++) {
        int fd = ways[i](ref);
        if (fd >= 0 && is_file(fd, ref))
            return fd;
        if (fd >= 0)
            close(fd);
        else if (i == 0)
            error = fd;
    }
    return error;
}

PyObject *
tdl_shared_open(struct tdl_state *st, const struct tdl_shared_ref *ref)
{
    PyObject *object = known(st, ref);
    if (object != NULL || PyErr_Occurred())
        return object;
    int fd = open_file(ref);
    if (fd >= 0)
        return mapped_steal(new_shared_steal(st, fd));
    if (fd == -ENOMEM || fd == -EMFILE || fd == -ENFILE) {
        tdl_raise_errno(fd);
        return NULL;
    }
    errno = -fd;
    return PyErr_Format(PyExc_OSError,
                        "a shared buffer of process %d cannot be opened (%s): it has ended, or "
                        "/proc does not show its descriptors to this user",
                        (int)ref->pid, strerror(-fd));
}

static PyObject *
shared_whole(PyObject *module, PyObject *buffer)
{
    struct tdl_state *st = tdl_state_of(module);
    if (Py_IS_TYPE(buffer, st->objects.SharedBuffer))
        return Py_NewRef(buffer);
    return tdl_compact_malformed(st, "no shared buffer");
}

/* For multiprocessing: from a descriptor, which is taken over. */
static PyObject *
shared_from_fd(PyObject *module, PyObject *arg)
{
    struct tdl_state *st = tdl_state_of(module);
    struct stat status;
    int fd = PyLong_AsInt(arg);
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    if (fstat(fd, &status) < 0) {
        tdl_raise_errno(-errno);
        return NULL;
    }
    struct tdl_shared_ref ref = {
        .device = (uint64_t)status.st_dev,
        .inode = (uint64_t)status.st_ino,
        .size = (uint64_t)status.st_size,
    };
    PyObject *object = known(st, &ref);
    if (object == NULL && !PyErr_Occurred())
        return mapped_steal(new_shared_steal(st, fd));
    close(fd);
    return object;
}

static PyObject *
is_pickling(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(tdl_pickling_active());
}

static PyMethodDef functions[] = {
    {"_shared_whole", shared_whole, METH_O, "What a SharedBuffer is unpickled by."},
    {"_shared_from_fd", shared_from_fd, METH_O,
     "The SharedBuffer of a descriptor, which belongs to it afterwards."},
    {"_is_pickling", is_pickling, METH_NOARGS, "Whether this thread pickles for a pool."},
    {NULL, NULL, 0, NULL},
};

int
tdl_shared_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_lock_init(&st->shared_lock);
    if (tdl_state_add_type(module, &shared_spec, &st->objects.SharedBuffer) < 0 ||
        PyModule_AddFunctions(module, functions) < 0)
        return -1;
    st->objects.shared_whole = PyObject_GetAttrString(module, "_shared_whole");
    return st->objects.shared_whole == NULL ? -1 : 0;
}
