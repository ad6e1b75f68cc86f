#include "loop/io.h"

#include "loop/watch.h"

int
tdl_io_attach(LoopObject *loop, struct tdl_io *io, int fd)
{
    if (tdl_watch_reserve(loop, fd) < 0)
        return -1;
    struct tdl_io *other = loop->watches[fd].io;
    if (other != NULL && other != io && other->shares)
        tdl_io_detach(loop, other);
    else if (other != NULL && other != io) {
        PyErr_Format(PyExc_RuntimeError, "File descriptor %d is used by transport %R", fd,
                     other->owner);
        return -1;
    }
    loop->watches[fd].io = io;
    io->fd = fd;
    io->events = 0;
    return 0;
}

int
tdl_io_want(LoopObject *loop, struct tdl_io *io, unsigned events)
{
    if (io->fd < 0 || events == io->events)
        return 0;
    unsigned before = io->events;
    struct tdl_watch *watch = &loop->watches[io->fd];
    unsigned mask = tdl_watch_mask(watch);
    io->events = events;
    if (tdl_watch_update(loop, io->fd, mask, tdl_watch_mask(watch)) < 0) {
        io->events = before;
        return -1;
    }
    if (before == 0)
        Py_INCREF(io->owner);
    else if (events == 0)
        Py_DECREF(io->owner);
    return 0;
}

void
tdl_io_detach(LoopObject *loop, struct tdl_io *io)
{
    if (io->fd < 0)
        return;
    bool held = io->events != 0;
    struct tdl_watch *watch = &loop->watches[io->fd];
    unsigned mask = tdl_watch_mask(watch);
    watch->io = NULL;
    /* what is left was accepted before; the descriptor may be closed already */
    if (held && loop->open && tdl_watch_update(loop, io->fd, mask, tdl_watch_mask(watch)) < 0)
        PyErr_Clear();
    io->fd = -1;
    io->events = 0;
    if (held)
        Py_DECREF(io->owner);
}

PyObject *
tdl_io_owner(LoopObject *loop, int fd)
{
    struct tdl_io *io = fd >= 0 && fd < loop->nwatches ? loop->watches[fd].io : NULL;
    return io == NULL || io->shares ? NULL : io->owner;
}
