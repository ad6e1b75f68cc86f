/* sock_sendfile(): the try. */
#include <errno.h>
#include <sys/sendfile.h>

#include "loop/sock.h"
#include "py/args.h"

/* With the GIL released: the file may have to be read from a disk. */
static ssize_t
send_some(int fd, int file, off_t offset, size_t count)
{
    ssize_t sent;
    Py_BEGIN_ALLOW_THREADS
    sent = sendfile(fd, file, &offset, count);
    Py_END_ALLOW_THREADS
    return sent;
}

/* Returns 0, or -1 if they are not numbers that the system can be given. */
static int
parse_range(PyObject *const *args, off_t *offset, Py_ssize_t *count)
{
    *offset = (off_t)PyLong_AsLongLong(args[0]);
    *count = *offset < 0 ? -1 : PyLong_AsSsize_t(args[1]);
    if (PyErr_Occurred())
        PyErr_Clear();
    return *count < 0 ? -1 : 0;
}

/* _sock_try_sendfile(sock, file, offset, count): how many bytes of the descriptor `file` have
 * been sent from `offset` on, of `count` at most; 0 at its end. */
static PyObject *
try_sendfile(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    off_t offset;
    Py_ssize_t count;
    int r = tdl_try_begin(&t, self, args, nargs, 4);
    if (r > 0)
        r = tdl_try_never_blocks(&t);
    if (r <= 0 || !PyLong_Check(args[1]) || parse_range(args + 2, &offset, &count) < 0)
        return tdl_try_not_ours(r);
    int file = PyObject_AsFileDescriptor(args[1]);
    if (file < 0)
        return NULL;
    ssize_t sent;
    do {
        sent = send_some(t.socket.fd, file, offset, (size_t)count);
        if (sent >= 0)
            return PyLong_FromSsize_t(sent);
    } while (errno == EINTR && PyErr_CheckSignals() == 0);
    return PyErr_Occurred() ? NULL : tdl_try_failed(&t, TDL_SOCK_WRITE);
}

PyMethodDef tdl_loop_sock_sendfile_methods[] = {
    {"_sock_try_sendfile", TDL_METHOD(try_sendfile), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
