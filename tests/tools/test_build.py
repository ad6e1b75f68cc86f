"""setup.py compiles what changed, and nothing else, for each configuration apart."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytest.importorskip("setuptools", minversion="77", reason="the extension is built by setuptools 77 or newer")
pytestmark = [
    pytest.mark.skipif(
        not any(map(shutil.which, ["cc", "gcc", "clang"])), reason="builds an extension, and there is no C compiler"
    ),
    pytest.mark.skipif(
        not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
        reason="builds an extension, and this interpreter has no Python.h",
    ),
]

SOURCES = {
    "core/one.h": "#define ONE 1\n",
    "core/one.c": '#include "core/one.h"\nint tdl_one(void);\nint tdl_one(void) { return ONE; }\n',
    "core/two.c": "int tdl_two(void);\nint tdl_two(void) { return 2; }\n",
    "module.c": """
#include <Python.h>
int tdl_one(void);
int tdl_two(void);
PyMODINIT_FUNC PyInit__native(void);
static PyObject *sum(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLong(tdl_one() + tdl_two());
}
static PyMethodDef methods[] = {{"sum", sum, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, .m_name = "treadle._native", .m_methods = methods};
PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&def);
}
""",
}


class Tree:
    """A small package with the project's own setup.py."""

    def __init__(self, root):
        self.root = root
        for name in "setup.py", "pyproject.toml", "LICENSE":
            shutil.copy(ROOT / name, root)
        (root / "README.md").write_text("treadle\n")
        (root / "python" / "treadle").mkdir(parents=True)
        (root / "python" / "treadle" / "__init__.py").write_text("")
        (root / "python" / "treadle" / "_version.py").write_text('__version__ = "0"\n')
        for name, text in SOURCES.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def build(self, expect=0, **variables):
        """The names of the sources that were compiled."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TREADLE_")}
        done = subprocess.run(
            [sys.executable, "setup.py", "build_ext", "--inplace"],
            cwd=self.root,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        compiled = [word for line in done.stdout.splitlines() if " -c " in line for word in line.split()]
        return sorted(pathlib.PurePath(word).stem for word in compiled if word.endswith(".c"))

    def sum(self):
        script = "from treadle._native import sum; print(sum())"
        environment = {**os.environ, "PYTHONPATH": str(self.root / "python")}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


EVERYTHING = ["module", "one", "two"]


def test_only_what_changed_is_compiled(tree):
    assert tree.build() == EVERYTHING
    assert tree.sum() == 3
    assert tree.build() == []
    tree.write("core/one.h", "#define ONE 10\n")
    assert tree.build() == ["one"]
    assert tree.sum() == 12
    tree.write("core/two.c", SOURCES["core/two.c"].replace("return 2", "return 20"))
    assert tree.build() == ["two"]
    assert tree.sum() == 30


def test_a_source_that_is_new_or_gone(tree):
    tree.build()
    tree.write("core/three.c", "int tdl_three(void);\nint tdl_three(void) { return 3; }\n")
    assert tree.build() == ["three"]
    (tree.root / "src" / "core" / "three.c").unlink()
    tree.write("core/two.c", SOURCES["core/two.c"].replace("return 2", "return 5"))
    assert tree.build() == ["two"]
    assert tree.sum() == 6


def test_a_header_that_is_gone(tree):
    tree.build()
    (tree.root / "src" / "core" / "one.h").unlink()
    assert tree.build(expect=1) == ["one"]


def test_a_failed_build_is_taken_up_where_it_failed(tree):
    tree.write("core/two.c", "not C\n")
    assert tree.build(expect=1) == EVERYTHING
    tree.write("core/two.c", SOURCES["core/two.c"])
    assert tree.build() == ["two"]
    assert tree.sum() == 3


def test_warnings_are_errors_on_request(tree):
    tree.write("core/two.c", "int tdl_two(void) { return 2; }\n")  # no prototype
    assert "two" in tree.build()
    assert tree.build(expect=1, TREADLE_WERROR="1") == EVERYTHING
    assert tree.build(TREADLE_WERROR="0") == []


def test_configurations_do_not_disturb_each_other(tree):
    tree.write("core/one.h", "#ifdef TDL_FAULTS\n#define ONE 100\n#else\n#define ONE 1\n#endif\n")
    assert tree.build() == EVERYTHING
    assert tree.build(TREADLE_FAULTS="1") == EVERYTHING
    assert tree.sum() == 102
    assert tree.build() == []
    assert tree.sum() == 3
    assert tree.build(TREADLE_FAULTS="1") == []
    assert tree.sum() == 102


def test_other_flags_compile_everything_again(tree):
    tree.build()
    script = tree.root / "setup.py"
    script.write_text(script.read_text().replace('"-D_GNU_SOURCE"', '"-D_GNU_SOURCE", "-DTDL_OTHER"'))
    assert tree.build() == EVERYTHING
    assert tree.build() == []


def test_a_list_of_sanitizers_is_one(tree):
    assert tree.build(expect=1, TREADLE_SANITIZE="address;rm") == []
