"""Check the rules that keep src/ in layers.

    layers.py [--root DIR] [--no-compile]

Fails, with one line for each finding, on

    include     a project header that is not named relative to src/, or an include
                that points up or sideways: core -> py -> future ->
                threads, procs, interps, loop (siblings) -> tasks, sync, streams
                (siblings) -> module.c
    python      a CPython header in core/
    version     PY_VERSION_HEX, Py_GIL_DISABLED and the like outside py/compat.h
    size        a file of more than 800 lines, a function of more than 80
    header      a header that does not compile alone

The headers of core/ are compiled without CPython's include directory.  The
compiler is $CC, or the one that this interpreter was built with.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

RANKS = {
    "core": 0,
    "py": 1,
    "future": 2,
    "threads": 3,
    "procs": 3,
    "interps": 3,
    "loop": 3,
    "tasks": 4,
    "sync": 4,
    "streams": 4,
}
TOP = 5  # module.c and what else lies directly in src/
COMPAT = PurePosixPath("py/compat.h")
PUBLIC = "treadle.h"  # the C API that other extensions include
FILE_LINES = 800
FUNCTION_LINES = 80

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
PYTHON_HEADER = re.compile(r"^(Python|structmember|frameobject|pythread|py[a-z]+|cpython/.*|internal/.*)\.h$")
VERSION = re.compile(
    r"\b(PY_VERSION_HEX|PY_VERSION|PY_MAJOR_VERSION|PY_MINOR_VERSION|PY_MICRO_VERSION"
    r"|Py_GIL_DISABLED|Py_DEBUG|Py_LIMITED_API)\b"
)
# Comments and literals; a newline in a comment is kept, so that lines count right.
NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: [{self.rule}] {self.text}"


class Source:
    """One file under src/."""

    def __init__(self, root, path):
        self.name = PurePosixPath(path.relative_to(root / "src").as_posix())
        self.shown = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.uncommented = NOISE.sub(keep_literals, self.text)
        self.code = NOISE.sub(blank, self.text)

    @property
    def layer(self):
        return self.name.parts[0] if len(self.name.parts) > 1 else None

    def finding(self, offset, rule, text):
        return Finding(self.shown, self.text.count("\n", 0, offset) + 1, rule, text)


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def keep_literals(match):
    return match[0] if match[0][0] in "\"'" else blank(match)


def rank_of(layer):
    return TOP if layer is None else RANKS.get(layer)


def check_layer(source):
    if rank_of(source.layer) is None:
        known = ", ".join(RANKS)
        yield source.finding(0, "include", f"{source.layer}/ is not a layer: {known}")


def check_includes(source, names):
    for match in INCLUDE.finditer(source.uncommented):
        opening, target = match.groups()
        at = match.start(1)
        if opening == "<":
            if target in names:
                yield source.finding(at, "include", f"<{target}> is ours: write \"{target}\"")
            continue
        if problem := include_problem(source, PurePosixPath(target), names):
            yield source.finding(at, "include", problem)


def include_problem(source, target, names):
    """Why `source` may not include "target", or None."""
    mine = rank_of(source.layer)
    if str(target) == PUBLIC:
        return None if mine is None or mine >= RANKS["threads"] else f'"{PUBLIC}" is for the top layers'
    if str(target) not in names:
        return f'"{target}" is not a file under src/; names are relative to src/'
    layer = target.parts[0] if len(target.parts) > 1 else None
    theirs = rank_of(layer)
    if mine is None or theirs is None or layer == source.layer:
        return None
    if theirs > mine:
        return f'"{target}" points up: {source.layer} is below {layer or "src"}'
    if theirs == mine:
        return f'"{target}" points sideways: {source.layer} and {layer} are siblings'
    return None


def check_python(source):
    if source.layer != "core":
        return
    for match in INCLUDE.finditer(source.uncommented):
        if PYTHON_HEADER.match(match[2]):
            yield source.finding(match.start(1), "python", f"core/ includes {match[2]}")


def check_version(source):
    if source.name == COMPAT:
        return
    for match in VERSION.finditer(source.code):
        yield source.finding(match.start(), "version", f"{match[0]} belongs in {COMPAT}")


def check_size(source):
    lines = source.text.count("\n")
    if lines > FILE_LINES:
        yield source.finding(0, "size", f"{lines} lines, more than {FILE_LINES}")
    for offset, name, length in functions(source):
        if length > FUNCTION_LINES:
            yield source.finding(offset, "size", f"{name}() has {length} lines, more than {FUNCTION_LINES}")


def functions(source):
    """(offset, name, lines) of every function, from its opening brace to its closing one."""
    code = re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", blank, source.code, flags=re.MULTILINE)
    depth = 0
    start = 0
    head = 0  # where the present declaration began
    for match in re.finditer(r"[{};]", code):
        if match[0] == "{":
            if depth == 0:
                start = match.start()
            depth += 1
            continue
        if match[0] == "}":
            depth -= 1
            name = function_name(code[head:start]) if depth == 0 else None
            if name:
                yield start, name, code.count("\n", start, match.start()) + 1
        if depth == 0:
            head = match.end()


def function_name(declaration):
    """The name in `static int f(void)`; None for a type or an initializer."""
    declaration = declaration.strip()
    if "=" in declaration or not declaration.endswith(")"):
        return None
    match = re.search(r"(\w+)\s*\(", declaration)
    return match[1] if match else None


def compiler():
    return (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]


def usable_compiler():
    for name in compiler(), "cc", "gcc", "clang":
        if shutil.which(name):
            return name
    raise SystemExit("layers: no C compiler found; set CC, or leave the headers out with --no-compile")


def check_header(cc, root, source):
    """A finding if `source`, a header, needs something that it does not include."""
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-xc", f"-I{root / 'src'}"]
    if source.layer != "core":
        flags += [f"-I{root / 'python/treadle/include'}", f"-isystem{sysconfig.get_path('include')}"]
    program = f'#include "{source.name}"\n'
    done = subprocess.run([cc, *flags, "-"], input=program, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if " error: " in line] or done.stderr.splitlines()
    return source.finding(0, "header", f"does not compile alone: {errors[0] if errors else 'no message'}")


def check_headers(root, sources):
    cc = usable_compiler()
    headers = [source for source in sources if source.name.suffix == ".h"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda header: check_header(cc, root, header), headers)
        return [finding for finding in found if finding]


def check(root, compile_headers=True):
    """(sources, findings) of the tree at `root`."""
    paths = sorted(path for suffix in ("c", "h") for path in (root / "src").rglob(f"*.{suffix}"))
    sources = [Source(root, path) for path in paths]
    names = {str(source.name) for source in sources}
    findings = []
    for source in sources:
        findings += check_layer(source)
        findings += check_includes(source, names)
        findings += check_python(source)
        findings += check_version(source)
        findings += check_size(source)
    if compile_headers:
        findings += check_headers(root, sources)
    return sources, findings


def report(sources, findings):
    for finding in sorted(findings):
        print(finding)
    lengths = [length for source in sources for _, _, length in functions(source)]
    headers = sum(source.name.suffix == ".h" for source in sources)
    longest = max(lengths, default=0)
    print(
        f"layers: {len(sources)} files ({headers} headers), {len(lengths)} functions, longest {longest} lines, "
        f"{sum(length > 40 for length in lengths)} over 40: {len(findings) or 'no'} findings"
    )


def main():
    parser = argparse.ArgumentParser(description="Check the rules that keep src/ in layers.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--no-compile", action="store_true", help="do not compile the headers")
    options = parser.parse_args()
    sources, findings = check(options.root.resolve(), not options.no_compile)
    if not sources:
        raise SystemExit(f"layers: no C files under {options.root / 'src'}")
    report(sources, findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
