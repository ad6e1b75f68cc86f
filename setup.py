"""Builds treadle._native; everything else is in pyproject.toml.

Environment, read when an extension is built:

    TREADLE_WERROR=1            warnings are errors
    TREADLE_DEBUG=1             -O0 -g3, assertions on
    TREADLE_FAULTS=1            defines TDL_FAULTS (injected allocation failures)
    TREADLE_LTO=1               link-time optimisation
    TREADLE_SANITIZE=address,undefined | thread
    TREADLE_JOBS=N              compilers at once (default: the number of CPUs)

Every interpreter and every combination of the above has an object directory
of its own under build/, and only what changed is compiled again: the compiler
writes down which headers each object came from (-MMD).
"""

import contextlib
import os
import re
import shlex
import shutil
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import setuptools
from setuptools import Extension, setup
from setuptools.command.build import build as _build
from setuptools.command.build_ext import build_ext as _build_ext

try:
    import fcntl
except ImportError:
    fcntl = None

ROOT = Path(__file__).resolve().parent

if int(setuptools.__version__.split(".")[0]) < 77:
    raise SystemExit(
        f"treadle: needs setuptools 77 or newer, this is {setuptools.__version__}; "
        "`make build` sets up an environment that has it"
    )

WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wmissing-prototypes"]
# CPython's API asks for all three: slots are cast from void *, type and method
# tables end in entries with fields left out, and slot functions take arguments
# that not all of them need.  tests/core builds core/ without these.
WARNINGS += ["-Wno-cast-function-type", "-Wno-missing-field-initializers", "-Wno-unused-parameter"]


def env_flag(name):
    return os.environ.get(name, "") not in ("", "0")


def interpreter_tag():
    """cpython-313t: the cache tag and the ABI flags that it leaves out."""
    tag = sys.implementation.cache_tag
    flags = getattr(sys, "abiflags", "")
    return tag if tag.endswith(flags) else tag + flags


class Config:
    """What the environment asks for: compiler and linker flags, and a name."""

    def __init__(self):
        self.names = []
        self.compile = ["-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden", *WARNINGS]
        self.link = []
        self._optimise()
        self._sanitize()
        if env_flag("TREADLE_WERROR"):
            self._add("werror", ["-Werror"])
        if env_flag("TREADLE_FAULTS"):
            self._add("faults", ["-DTDL_FAULTS=1"])

    def _add(self, name, compile_flags, link_flags=()):
        self.names.append(name)
        self.compile += compile_flags
        self.link += link_flags

    def _optimise(self):
        if env_flag("TREADLE_DEBUG"):
            # _FORTIFY_SOURCE, which some interpreters hand on, needs -O.
            self._add("debug", ["-O0", "-g3", "-UNDEBUG", "-U_FORTIFY_SOURCE"])
            return
        self.compile += ["-O3", "-g1"]
        if env_flag("TREADLE_LTO"):
            flags = ["-flto=auto", "-fno-fat-lto-objects"]
            self._add("lto", flags, ["-O3", *flags])
        else:
            # Some interpreters hand on the -flto they were built with.
            self.compile.append("-fno-lto")
            self.link.append("-fno-lto")

    def _sanitize(self):
        kinds = os.environ.get("TREADLE_SANITIZE", "")
        if not kinds:
            return
        if not re.fullmatch(r"[a-z-]+(,[a-z-]+)*", kinds):
            raise SystemExit(f"treadle: TREADLE_SANITIZE={kinds!r} is not a list of sanitizers")
        flag = f"-fsanitize={kinds}"
        self._add(
            kinds.replace(",", "-"),
            [flag, "-O1", "-g", "-fno-omit-frame-pointer", "-UNDEBUG", "-U_FORTIFY_SOURCE"]
            + ["-fno-sanitize-recover=undefined"] * ("undefined" in kinds),
            [flag],
        )

    @property
    def tag(self):
        return "-".join([interpreter_tag(), *(self.names or ["release"])])


class build(_build):
    """Keeps what different interpreters and configurations build apart."""

    def finalize_options(self):
        if self.build_lib is None:
            self.build_lib = os.path.join(self.build_base, f"lib-{Config().tag}")
        if self.build_temp is None:
            self.build_temp = os.path.join(self.build_base, f"temp-{Config().tag}")
        super().finalize_options()


class build_ext(_build_ext):
    """Compiles in parallel, and only what is out of date."""

    def build_extension(self, ext):
        temp = Path(self.build_temp)
        temp.mkdir(parents=True, exist_ok=True)
        with exclusive(temp / "lock"):
            self._build_locked(ext, temp)

    def _build_locked(self, ext, temp):
        config = Config()
        flags = [*config.compile, *self._include_flags(ext)]
        objects = [object_path(temp, source) for source in ext.sources]
        forget_unless_same(temp / "compile", [*self.compiler.compiler_so, *flags], objects)
        pairs = zip(ext.sources, objects, strict=True)
        self._compile_all([pair for pair in pairs if self.force or not up_to_date(pair[1])], flags)
        output = Path(self.get_ext_fullpath(ext.name))
        link = [*self.compiler.linker_so, *config.link, *map(str, objects)]
        forget_unless_same(temp / "link", link, [output])
        if newer_than_all(output, objects):
            return
        output.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            [str(path) for path in objects], str(output), extra_postargs=config.link, target_lang="c"
        )

    def _include_flags(self, ext):
        # CPython's headers are system headers: their warnings are not ours.
        ours = [f"-I{path}" for path in ext.include_dirs]
        return ours + [f"-isystem{path}" for path in python_includes()]

    def _compile_all(self, stale, flags):
        if not stale:
            return
        jobs = int(os.environ.get("TREADLE_JOBS") or os.cpu_count() or 1)
        with ThreadPoolExecutor(jobs) as pool:
            pending = [pool.submit(self._compile_one, source, target, flags) for source, target in stale]
            errors = [error for future in pending if (error := future.exception())]
        if errors:
            raise errors[0]

    def _compile_one(self, source, target, flags):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        depfile = str(target.with_suffix(".d"))
        command = [*self.compiler.compiler_so, *flags, "-MMD", "-MF", depfile, "-c", source, "-o", str(target)]
        started = time.time_ns()
        self.spawn(command)
        # A source saved while it was being compiled is newer than its object.
        os.utime(target, ns=(started, started))

    def copy_extensions_to_source(self):
        """Put the extension next to the package, at once and only if it changed."""
        build_py = self.get_finalized_command("build_py")
        for ext in self.extensions:
            built = Path(self.build_lib, self.get_ext_filename(ext.name))
            package_dir = Path(build_py.get_package_dir(ext.name.rpartition(".")[0]))
            replace_if_changed(built, package_dir / built.name)


@contextlib.contextmanager
def exclusive(path):
    """Two builds into one directory take turns."""
    with open(path, "w") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def replace_if_changed(built, target):
    if target.exists() and target.read_bytes() == built.read_bytes():
        return
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(built, scratch)
    os.replace(scratch, target)


def python_includes():
    paths = [sysconfig.get_path("include"), sysconfig.get_path("platinclude")]
    return list(dict.fromkeys(path for path in paths if path))


def object_path(temp, source):
    return (temp / source).with_suffix(".o")


def forget_unless_same(stamp, command, outputs):
    """Remove what another command made; `stamp` holds the one that made it."""
    text = shlex.join(command)
    if stamp.exists() and stamp.read_text() == text:
        return
    for path in outputs:
        path.unlink(missing_ok=True)
    stamp.write_text(text)


def up_to_date(target):
    """Whether an object is newer than everything its depfile names."""
    depfile = target.with_suffix(".d")
    if not (target.exists() and depfile.exists()):
        return False
    text = depfile.read_text().replace("\\\n", " ").partition(":")[2]
    inputs = [Path(name.replace("\\ ", " ")) for name in re.findall(r"(?:\\ |\S)+", text)]
    return newer_than_all(target, inputs)


def newer_than_all(target, inputs):
    try:
        made = target.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns < made for path in inputs)
    except FileNotFoundError:
        return False


def sources():
    found = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("src/**/*.c"))
    if not found:
        raise SystemExit("treadle: no C sources under src/")
    return found


setup(
    ext_modules=[Extension("treadle._native", sources(), include_dirs=["src", "python/treadle/include"])],
    cmdclass={"build": build, "build_ext": build_ext},
)
