#include "py/pause.h"

int
tdl_pause_init(struct tdl_state *st)
{
    PyObject *globals = PyDict_New();
    if (globals == NULL)
        return -1;
    st->objects.pause = PyRun_String("lambda: None", Py_eval_input, globals, globals);
    Py_DECREF(globals);
    return st->objects.pause == NULL ? -1 : 0;
}
