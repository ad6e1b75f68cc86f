"""What the thread part adds to the module: the C API, and what it is told of forks and of the end."""

import ctypes
import os

import pytest
from support import run_script
from treadle import _native


def test_the_api_is_in_a_capsule():
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype = ctypes.c_char_p
    get_name.argtypes = [ctypes.py_object]
    name = get_name(_native._C_API)
    assert name == b"treadle._native._C_API"
    address = get_pointer(_native._C_API, name)
    assert ctypes.c_uint32.from_address(address).value >= 1  # its version


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_pools_of_the_parent_are_recognised_in_a_child():
    code = (
        "import os, warnings, treadle\n"
        "warnings.simplefilter('ignore')\n"
        "pool = treadle.ThreadPoolExecutor(1)\n"
        "assert pool.submit(int).result() == 0\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        "        pool.submit(int)\n"
        "    except RuntimeError:\n"
        "        fresh = treadle.ThreadPoolExecutor(1)\n"
        "        os._exit(7 if fresh.submit(abs, -1).result() == 1 else 8)\n"
        "    os._exit(9)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "assert pool.submit(int).result() == 0\n"
        "pool.shutdown()\n"
    )
    assert run_script(code) == "7\n"


def test_after_the_end_has_begun_pools_refuse():
    code = (
        "import treadle\n"
        "pool = treadle.ThreadPoolExecutor(1)\n"
        "pool.submit(int).result()\n"
        "treadle._native._begin_exit()\n"
        "for use in (lambda: pool.submit(int), lambda: list(pool.map(int, '1'))):\n"
        "    try:\n"
        "        use()\n"
        "    except RuntimeError as error:\n"
        "        print(error)\n"
        "pool.shutdown()\n"
    )
    lines = run_script(code).splitlines()
    assert len(lines) == 2 and all("cannot schedule new futures after" in line for line in lines)
