"""tools/layers.py finds what it is there to find, and nothing in a tree that keeps the rules."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYERS = ROOT / "tools" / "layers.py"

pytestmark = pytest.mark.skipif(not LAYERS.exists(), reason="the tools are not part of what is tested here")

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ["cc", "gcc", "clang"])), reason="headers are tried with a C compiler, and there is none"
)

GOOD = {
    "core/ring.h": "#ifndef RING_H\n#define RING_H\n#include <stddef.h>\nsize_t tdl_ring_size(void);\n#endif\n",
    "core/ring.c": '#include "core/ring.h"\n\nsize_t\ntdl_ring_size(void)\n{\n    return 4;\n}\n',
    "py/compat.h": "#ifndef COMPAT_H\n#define COMPAT_H\n#include <Python.h>\n"
    "#if PY_VERSION_HEX < 0x030C0000\n#endif\n#ifdef Py_GIL_DISABLED\n#endif\n#endif\n",
    "future/future.h": '#ifndef FUTURE_H\n#define FUTURE_H\n#include "core/ring.h"\n#include "py/compat.h"\n#endif\n',
    "threads/pool.c": '#include "future/future.h"\n#include "core/ring.h"\n#include "treadle.h"\n',
    "threads/pool.h": "/* PY_VERSION_HEX is not tested here. */\n",
    "loop/loop.h": "",
    "module.c": '#include "threads/pool.h"\n#include "loop/loop.h"\n',
}


def make_tree(root, files):
    include = root / "python" / "treadle" / "include"
    include.mkdir(parents=True)
    (include / "treadle.h").write_text("")
    for name, text in files.items():
        path = root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def run_layers(root, *options):
    return subprocess.run(
        [sys.executable, "-I", str(LAYERS), "--root", str(root), *options], capture_output=True, text=True, timeout=120
    )


def findings(root, *options):
    """The lines about one file each; the exit status has to agree with there being any."""
    done = run_layers(root, *options)
    assert done.stderr == ""
    *lines, summary = done.stdout.splitlines()
    assert summary.startswith("layers: ")
    assert done.returncode == (1 if lines else 0), done.stdout
    return lines


def test_a_tree_that_keeps_the_rules_passes(tmp_path):
    assert findings(make_tree(tmp_path, GOOD), "--no-compile") == []


@needs_compiler
@pytest.mark.skipif(
    not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")), reason="this interpreter has no Python.h"
)
def test_its_headers_compile_alone(tmp_path):
    assert findings(make_tree(tmp_path, GOOD)) == []


BAD = {
    "core includes py": ("core/ring.c", '#include "py/compat.h"\n', 1, "include", "points up"),
    "py includes future": ("py/errors.c", '\n#include "future/future.h"\n', 2, "include", "points up"),
    "future includes threads": ("future/wait.c", '#include "threads/pool.h"\n', 1, "include", "points up"),
    "threads includes loop": ("threads/pool.c", '#include "loop/loop.h"\n', 1, "include", "sideways"),
    "a layer includes the top": ("threads/pool.c", '#include "module.h"\n', 1, "include", "points up"),
    "a name relative to its own directory": ("core/ring.c", '#include "ring.h"\n', 1, "include", "relative to src/"),
    "a path with dots": ("py/errors.c", '#include "../core/ring.h"\n', 1, "include", "relative to src/"),
    "ours in angle brackets": ("py/errors.c", "#include <core/ring.h>\n", 1, "include", "is ours"),
    "blanks around the hash": ("core/ring.c", ' # include "py/compat.h"\n', 1, "include", "points up"),
    "the public header low down": ("future/wait.c", '#include "treadle.h"\n', 1, "include", "top layers"),
    "an unknown directory": ("extra/more.c", "", 1, "include", "not a layer"),
    "Python.h in core": ("core/ring.c", "/* a\n */\n#include <Python.h>\n", 3, "python", "Python.h"),
    "Python.h in core, quoted": ("core/ring.c", '#include "Python.h"\n', 1, "python", "Python.h"),
    "a smaller CPython header in core": ("core/ring.c", "#include <pythread.h>\n", 1, "python", "pythread.h"),
    "#if PY_VERSION_HEX": ("future/wait.c", "#if PY_VERSION_HEX > 3\n#endif\n", 1, "version", "PY_VERSION_HEX"),
    "#ifdef Py_GIL_DISABLED": ("core/ring.c", "#ifdef Py_GIL_DISABLED\n#endif\n", 1, "version", "Py_GIL_DISABLED"),
    "#elif on the next line": (
        "py/errors.c",
        "#if 0\n#elif \\\n PY_VERSION_HEX > 3\n#endif\n",
        3,
        "version",
        "PY_VERSION_HEX",
    ),
    "a version test in C": ("module.c", "int f(void) { return PY_VERSION_HEX > 3; }\n", 1, "version", "PY_VERSION_HEX"),
    "a file too long": ("core/ring.c", "\n" * 801, 1, "size", "801 lines"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_source(tmp_path, name):
    path, text, line, rule, words = BAD[name]
    tree = {**GOOD, "module.h": "", path: text}
    found = findings(make_tree(tmp_path, tree), "--no-compile")
    assert any(item.startswith(f"src/{path}:{line}: [{rule}] ") and words in item for item in found), found


def function(lines):
    """A function whose body, braces included, has this many lines."""
    body = '    s = "{"; /* } */\n' * (lines - 2)
    return f"/* {{ */\nstruct pair {{ int a; }};\nstatic const int x[] = {{ 1 }};\nint\nlong_one(char *s)\n{{\n{body}}}\n"


@pytest.mark.parametrize(("lines", "passes"), [(80, True), (81, False)])
def test_the_longest_function(tmp_path, lines, passes):
    found = findings(make_tree(tmp_path, {"core/ring.c": function(lines)}), "--no-compile")
    assert found == ([] if passes else ["src/core/ring.c:6: [size] long_one() has 81 lines, more than 80"])


def test_lengths_are_those_of_each_function(tmp_path):
    text = "".join(f"int\nf{n}(void)\n{{\n    if (1) {{\n    }}\n}}\n#define M {{\n" for n in range(40))
    tree = make_tree(tmp_path, {"core/ring.c": text})
    assert findings(tree, "--no-compile") == []
    assert "40 functions, longest 4 lines" in run_layers(tree, "--no-compile").stdout


@needs_compiler
@pytest.mark.parametrize(
    "text",
    [
        "size_t tdl_ring_size(void);\n",  # leaves <stddef.h> to whoever includes it
        "#include <core/gone.h>\n",
        "#include <Python.h>\n",  # core/ is compiled without CPython's directory
        "struct ring {\n    struct item first;\n};\n",
    ],
)
def test_a_header_that_does_not_compile_alone(tmp_path, text):
    found = findings(make_tree(tmp_path, {"core/ring.h": text}))
    assert any(item.startswith("src/core/ring.h:1: [header] does not compile alone: ") for item in found), found


def test_no_sources_is_a_failure(tmp_path):
    (tmp_path / "src").mkdir()
    done = run_layers(tmp_path)
    assert done.returncode == 1
    assert "no C files" in done.stderr


def test_no_compiler_is_a_failure(tmp_path):
    make_tree(tmp_path, {"core/ring.h": ""})
    done = subprocess.run(
        [sys.executable, "-I", str(LAYERS), "--root", str(tmp_path)],
        env={"PATH": str(tmp_path), "CC": "nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no C compiler" in done.stderr
