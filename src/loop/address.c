#include "loop/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

enum { PATH_AT = offsetof(struct sockaddr_un, sun_path) };

bool
tdl_address_known(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

/* ---- making ------------------------------------------------------------------------ */

static PyObject *
make_inet(const struct sockaddr_in *sa)
{
    char host[INET_ADDRSTRLEN];
    if (inet_ntop(AF_INET, &sa->sin_addr, host, sizeof host) == NULL)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("si", host, ntohs(sa->sin_port));
}

static PyObject *
make_inet6(const struct sockaddr_in6 *sa)
{
    char host[INET6_ADDRSTRLEN];
    if (inet_ntop(AF_INET6, &sa->sin6_addr, host, sizeof host) == NULL)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("siII", host, ntohs(sa->sin6_port), (unsigned)ntohl(sa->sin6_flowinfo),
                         (unsigned)sa->sin6_scope_id);
}

static PyObject *
make_unix(const struct tdl_address *address)
{
    const char *path = (const char *)&address->sa + PATH_AT;
    size_t size = address->len > PATH_AT ? address->len - PATH_AT : 0;
#ifdef __linux__
    if (size > 0 && path[0] == '\0')
        return PyBytes_FromStringAndSize(path, (Py_ssize_t)size);
#endif
    return PyUnicode_DecodeFSDefaultAndSize(path, (Py_ssize_t)strnlen(path, size));
}

static PyObject *
make(const struct tdl_address *address)
{
    if (address->len == 0)
        return Py_NewRef(Py_None);
    switch (address->sa.ss_family) {
    case AF_INET:
        return make_inet((const struct sockaddr_in *)&address->sa);
    case AF_INET6:
        return make_inet6((const struct sockaddr_in6 *)&address->sa);
    default:
        return make_unix(address);
    }
}

bool
tdl_address_cached(const struct tdl_address_cache *cache, const struct tdl_address *address)
{
    return cache != NULL && cache->object != NULL && cache->address.len == address->len &&
           memcmp(&cache->address.sa, &address->sa, address->len) == 0;
}

PyObject *
tdl_address_make(const struct tdl_address *address, struct tdl_address_cache *cache)
{
    if (tdl_address_cached(cache, address))
        return Py_NewRef(cache->object);
    PyObject *object = make(address);
    if (object != NULL && cache != NULL && address->len <= sizeof address->sa) {
        memcpy(&cache->address.sa, &address->sa, address->len);
        cache->address.len = address->len;
        Py_XSETREF(cache->object, Py_NewRef(object));
    }
    return object;
}

/* ---- parsing ----------------------------------------------------------------------- */

/* An exact int of 0 to `most`. */
static bool
parse_number(PyObject *object, long most, long *value)
{
    if (!PyLong_CheckExact(object))
        return false;
    int overflow;
    *value = PyLong_AsLongAndOverflow(object, &overflow);
    return overflow == 0 && *value >= 0 && *value <= most;
}

/* (host, port, ...) with a numeric host. */
static bool
parse_host_and_port(int family, PyObject *object, Py_ssize_t most, void *host, long *port)
{
    if (!PyTuple_CheckExact(object) || PyTuple_GET_SIZE(object) < 2 ||
        PyTuple_GET_SIZE(object) > most)
        return false;
    PyObject *name = PyTuple_GET_ITEM(object, 0);
    if (!PyUnicode_CheckExact(name) || !PyUnicode_IS_COMPACT_ASCII(name))
        return false;
    const char *text = (const char *)PyUnicode_1BYTE_DATA(name);
    return strlen(text) == (size_t)PyUnicode_GET_LENGTH(name) &&
           inet_pton(family, text, host) == 1 &&
           parse_number(PyTuple_GET_ITEM(object, 1), 65535, port);
}

static bool
parse_inet(PyObject *object, struct tdl_address *address)
{
    struct sockaddr_in *sa = (struct sockaddr_in *)&address->sa;
    long port;
    *sa = (struct sockaddr_in){.sin_family = AF_INET};
    if (!parse_host_and_port(AF_INET, object, 2, &sa->sin_addr, &port))
        return false;
    sa->sin_port = htons((uint16_t)port);
    address->len = sizeof *sa;
    return true;
}

static bool
parse_inet6(PyObject *object, struct tdl_address *address)
{
    struct sockaddr_in6 *sa = (struct sockaddr_in6 *)&address->sa;
    long port, flow = 0, scope = 0;
    *sa = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (!parse_host_and_port(AF_INET6, object, 4, &sa->sin6_addr, &port))
        return false;
    if (PyTuple_GET_SIZE(object) > 2 &&
        !parse_number(PyTuple_GET_ITEM(object, 2), 0xfffff, &flow))
        return false;
    if (PyTuple_GET_SIZE(object) > 3 &&
        !parse_number(PyTuple_GET_ITEM(object, 3), 0x7fffffff, &scope))
        return false;
    sa->sin6_port = htons((uint16_t)port);
    sa->sin6_flowinfo = htonl((uint32_t)flow);
    sa->sin6_scope_id = (uint32_t)scope;
    address->len = sizeof *sa;
    return true;
}

static bool
parse_path(const char *path, Py_ssize_t size, struct tdl_address *address)
{
    struct sockaddr_un *sa = (struct sockaddr_un *)&address->sa;
    if (size <= 0 || (size_t)size >= sizeof sa->sun_path)
        return false;
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(sa->sun_path, path, (size_t)size);
    /* an abstract name ends where it ends, a path with its NUL */
    address->len = (socklen_t)(PATH_AT + (size_t)size + (path[0] != '\0'));
    return true;
}

static bool
parse_unix(PyObject *object, struct tdl_address *address)
{
    if (PyBytes_CheckExact(object))
        return parse_path(PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object), address);
    if (!PyUnicode_CheckExact(object))
        return false;
    PyObject *path = PyUnicode_EncodeFSDefault(object);
    if (path == NULL) {
        PyErr_Clear();
        return false;
    }
    bool r = parse_path(PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path), address);
    Py_DECREF(path);
    return r;
}

bool
tdl_address_parse(int family, PyObject *object, const struct tdl_address_cache *cache,
                  struct tdl_address *address)
{
    if (cache != NULL && cache->object == object && object != Py_None) {
        *address = cache->address;
        return cache->address.sa.ss_family == family;
    }
    switch (family) {
    case AF_INET:
        return parse_inet(object, address);
    case AF_INET6:
        return parse_inet6(object, address);
    case AF_UNIX:
        return parse_unix(object, address);
    default:
        return false;
    }
}
