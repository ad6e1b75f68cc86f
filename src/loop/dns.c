#include "loop/dns.h"

#include <arpa/inet.h>
#include <string.h>

#include "py/args.h"

/* The bytes of a str or bytes object, exactly of that type, without a NUL in them.
 * Returns false, with nothing raised, if there are none. */
static bool
get_text(PyObject *op, const char **text, Py_ssize_t *size)
{
    if (PyUnicode_CheckExact(op)) {
        if (!PyUnicode_IS_ASCII(op))
            return false;
        *text = (const char *)PyUnicode_1BYTE_DATA(op);
        *size = PyUnicode_GET_LENGTH(op);
    }
    else if (PyBytes_CheckExact(op)) {
        *text = PyBytes_AS_STRING(op);
        *size = PyBytes_GET_SIZE(op);
    }
    else
        return false;
    return memchr(*text, '\0', (size_t)*size) == NULL;
}

static bool
is_address(const char *text, Py_ssize_t size)
{
    char name[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *scope = memchr(text, '%', (size_t)size);
    size_t length = scope == NULL ? (size_t)size : (size_t)(scope - text);
    if (length >= sizeof name)
        return false;
    memcpy(name, text, length);
    name[length] = '\0';
    return inet_pton(AF_INET6, name, &address) == 1 ||
           (scope == NULL && inet_pton(AF_INET, name, &address) == 1);
}

static bool
is_number(const char *text, Py_ssize_t size)
{
    return size > 0 && strspn(text, "0123456789") == (size_t)size;
}

static PyObject *
is_numeric_address(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    const char *text;
    Py_ssize_t size;
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "_is_numeric_address() takes 2 arguments");
        return NULL;
    }
    PyObject *host = args[0], *port = args[1];
    if (host != Py_None && !(get_text(host, &text, &size) && is_address(text, size)))
        Py_RETURN_FALSE;
    if (port == Py_None || PyLong_CheckExact(port))
        Py_RETURN_TRUE;
    return PyBool_FromLong(get_text(port, &text, &size) && is_number(text, size));
}

PyMethodDef tdl_dns_functions[] = {
    {"_is_numeric_address", TDL_METHOD(is_numeric_address), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
