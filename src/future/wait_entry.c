#include "future/wait_entry.h"

int
tdl_wait_entry_complete(struct tdl_state *st, struct tdl_wait_entry *entry, int *raised)
{
    if (!entry->native)
        return tdl_std_future_complete(st, entry->future, raised);
    FutureObject *future = (FutureObject *)entry->future;
    enum tdl_future_state state = tdl_future_state(future);
    *raised = state == TDL_FINISHED && future->exception != NULL;
    return state == TDL_FINISHED || state == TDL_CANCELLED_AND_NOTIFIED;
}

int
tdl_wait_entry_link(struct tdl_state *st, struct tdl_wait_entry *entry)
{
    int r;
    if (entry->native) {
        r = tdl_future_link((FutureObject *)entry->future, &entry->node);
        if (r > 0 && tdl_future_check_not_orphaned((FutureObject *)entry->future) < 0) {
            tdl_future_unlink((FutureObject *)entry->future, &entry->node);
            r = -1;
        }
    }
    else
        r = tdl_wait_proxy_link(st, entry->future, &entry->node, &entry->proxy);
    entry->linked = r > 0;
    return r;
}

bool
tdl_wait_entry_unlink(struct tdl_state *st, struct tdl_wait_entry *entry)
{
    if (!entry->linked)
        return false;
    entry->linked = false;
    if (entry->native)
        return !tdl_future_unlink((FutureObject *)entry->future, &entry->node);
    PyObject *proxy = Py_NewRef(entry->proxy);
    tdl_wait_proxy_unlink(st, entry->future, entry->proxy);
    entry->proxy = NULL;
    bool noted = tdl_wait_proxy_noted(proxy);
    Py_DECREF(proxy);
    return noted;
}

int
tdl_wait_entry_help(struct tdl_wait_entry *entry)
{
    struct tdl_source *source = tdl_wait_entry_source(entry);
    if (source == NULL || !tdl_future_has_job(entry->node.future))
        return 0;
    return source->help(source, entry->node.future);
}
