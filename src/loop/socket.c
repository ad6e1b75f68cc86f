#include "loop/socket.h"

#include <string.h>
#include <sys/socket.h>

/* How every version's socket object begins; not in a header of the interpreter, so
 * it is compared with what the object's methods say before it is relied on. */
struct start {
    PyObject_HEAD
    int fd, family, type, proto;
};

enum { UNKNOWN, AS_EXPECTED, OTHERWISE };

static int
ask(PyObject *sock, PyObject *name, bool call, int *value)
{
    PyObject *r = call ? PyObject_CallMethodNoArgs(sock, name) : PyObject_GetAttr(sock, name);
    long number = r == NULL ? -1 : PyLong_AsLong(r);
    Py_XDECREF(r);
    *value = (int)number;
    return number == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
ask_all(struct tdl_state *st, PyObject *sock, struct start *said)
{
    struct tdl_names *names = &st->names;
    if (ask(sock, names->fileno, true, &said->fd) < 0 ||
        ask(sock, names->family, false, &said->family) < 0 ||
        ask(sock, names->type, false, &said->type) < 0)
        return -1;
    return ask(sock, names->proto, false, &said->proto);
}

/* Ask the methods, and find out whether the object can be read instead. */
static int
look_carefully(struct tdl_state *st, PyObject *sock, struct tdl_socket *found)
{
    struct start said = {0};
    if (ask_all(st, sock, &said) < 0)
        return -1;
    const struct start *start = (const struct start *)sock;
    if (said.fd >= 0 && st->socket_layout == UNKNOWN) {
        bool same = start->fd == said.fd && start->family == said.family &&
                    start->type == said.type && start->proto == said.proto;
        st->socket_layout = same ? AS_EXPECTED : OTHERWISE;
    }
    *found = (struct tdl_socket){said.fd, said.family, said.type, said.proto};
    return 1;
}

int
tdl_socket_look(struct tdl_state *st, PyObject *sock, struct tdl_socket *found)
{
    if (!Py_IS_TYPE(sock, (PyTypeObject *)st->objects.socket_type))
        return 0;
    if (st->socket_layout != AS_EXPECTED)
        return look_carefully(st, sock, found);
    const struct start *start = (const struct start *)sock;
    *found = (struct tdl_socket){start->fd, start->family, start->type, start->proto};
    return 1;
}

int
tdl_socket_init(struct tdl_state *st)
{
    PyObject *module = PyImport_ImportModule("socket");
    if (module != NULL)
        st->objects.socket_type = PyObject_GetAttrString(module, "socket");
    Py_XDECREF(module);
    if (st->objects.socket_type == NULL)
        return -1;
    /* replaced by something else: then it is nobody's exact type */
    if (!PyType_Check(st->objects.socket_type) ||
        ((PyTypeObject *)st->objects.socket_type)->tp_basicsize <
            (Py_ssize_t)sizeof(struct start))
        Py_SETREF(st->objects.socket_type, Py_NewRef((PyObject *)&PyBaseObject_Type));
    return 0;
}
