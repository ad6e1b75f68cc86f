#include "loop/endpoint.h"

#include <string.h>

int
tdl_endpoint_set(struct tdl_endpoint *self, const struct tdl_address *address)
{
    int family = address->len == 0 ? AF_UNSPEC : address->sa.ss_family;
    if (family == AF_INET || family == AF_INET6) {
        memcpy(&self->raw, &address->sa, sizeof self->raw);
        return 1;
    }
    if (family == AF_UNSPEC || !tdl_address_known(family))
        return 0;
    PyObject *object = tdl_address_make(address, NULL);
    if (object == NULL)
        return -1;
    Py_XSETREF(self->object, object);
    return 1;
}

int
tdl_endpoint_ask(struct tdl_endpoint *self, int fd,
                 int (*ask)(int, struct sockaddr *, socklen_t *))
{
    struct tdl_address address = {.len = sizeof address.sa};
    if (ask(fd, (struct sockaddr *)&address.sa, &address.len) < 0)
        return 0;
    return tdl_endpoint_set(self, &address);
}

PyObject *
tdl_endpoint_get(struct tdl_endpoint *self)
{
    int family = self->raw.any.sa_family;
    if (self->object == NULL && family == AF_UNSPEC)
        Py_RETURN_NONE;
    if (self->object == NULL) {
        struct tdl_address address = {.len = family == AF_INET ? sizeof self->raw.in
                                                               : sizeof self->raw.in6};
        memcpy(&address.sa, &self->raw, address.len);
        self->object = tdl_address_make(&address, NULL);
    }
    return Py_XNewRef(self->object);
}
