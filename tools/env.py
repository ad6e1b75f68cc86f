"""Set up what a make target needs, and print the Python to run it with.

    env.py [--no-build] [GROUP...]
    env.py --check              only say what is missing

Makes a virtual environment build/venv-<interpreter>, installs the requirements
of the named groups into it, builds the extension in place and prints the path
of the environment's Python.  What is there already is left as it is, so that a
second call is quick.  A group is an extra of pyproject.toml or one of TOOLS;
one written with a question mark (bench?) may fail to install.

Anything missing is one line on stderr and exit status 1.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = {
    "build": ["setuptools>=77"],
    # One version for everybody: what it finds, and which ignores it wants, changes.
    "typecheck": ["mypy==2.4.*", "types-tqdm"],
    "format": ["clang-format==19.1.*"],
    "wheel": ["build"],
    # Tests of arrays are skipped without it; no test is worth a toolchain.
    "numpy": ["--only-binary=:all:", "numpy"],
    "integration": [
        "aiofiles",
        "aiohttp",
        "aiosmtpd",
        "aiosmtplib",
        "anyio",
        "asyncpg",
        "granian",
        "httptools",
        "httpx[http2]",
        "hypercorn",
        "nest-asyncio",
        "pytest-asyncio>=1.1",
        "redis",
        "trustme",
        "uvicorn>=0.36",
        "websockets>=15",
        "wsproto",
    ],
    # What the benchmarks compare with, where there is a wheel: none is worth a toolchain.
    "uvloop": ["--only-binary=:all:", "uvloop"],
    "rloop": ["--only-binary=:all:", "rloop"],
    "zuvloop": ["--only-binary=:all:", "zuvloop"],
    "web": ["--only-binary=:all:", "aiohttp", "uvicorn", "httptools"],
}


class Missing(Exception):
    """Something this machine needs and does not have."""


def say(text):
    print(f"treadle: {text}", file=sys.stderr, flush=True)


def interpreter_tag():
    tag = sys.implementation.cache_tag
    return tag if tag.endswith(sys.abiflags) else tag + sys.abiflags


def compiler():
    """The C compiler, as the variables CC and LDSHARED where those must differ."""
    recorded = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if "CC" in os.environ:
        if not shutil.which(os.environ["CC"].split()[0]):
            raise Missing(f"the C compiler CC={os.environ['CC']} is not there")
        return {}
    if shutil.which(recorded):
        return {}
    for name in "cc", "gcc", "clang":
        if shutil.which(name):
            return {"CC": name, "LDSHARED": f"{name} -shared"}
    raise Missing("no C compiler (cc, gcc or clang): install one, on Debian with `apt-get install gcc libc6-dev`")


def require_headers():
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise Missing(
            f"Python.h of {sys.executable} is not there ({header}): install its development files, "
            f"on Debian with `apt-get install python{version}-dev`, or name another interpreter with PYTHON="
        )


def require_venv():
    # Debian's venv module is there without ensurepip, and then fails.
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise Missing(
            f"{sys.executable} cannot make virtual environments ({error}): on Debian "
            f"`apt-get install python{version}-venv`, or name another interpreter with PYTHON="
        ) from None


class Environment:
    def __init__(self):
        self.path = ROOT / "build" / f"venv-{interpreter_tag()}"
        self.python = self.path / "bin" / "python"

    def make(self):
        # The base interpreter is written down: one that moved or was upgraded
        # gets a new environment.
        identity = f"{sys.base_prefix}\n{sys.version}\n"
        stamp = self.path / "treadle-base"
        if stamp.exists() and stamp.read_text() == identity and self.python.exists():
            return
        say(f"making {self.path.relative_to(ROOT)} for {sys.executable}")
        shutil.rmtree(self.path, ignore_errors=True)
        self._run([sys.executable, "-m", "venv", str(self.path)], "cannot make a virtual environment")
        self._make_importable()
        stamp.write_text(identity)

    def _make_importable(self):
        script = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = subprocess.run([self.python, "-I", "-c", script], check=True, capture_output=True, text=True)
        Path(site.stdout.strip(), "treadle-in-place.pth").write_text(f"{ROOT / 'python'}\n")

    def install(self, group):
        name = group.rstrip("?")
        requirements = requirements_of(name)
        digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()
        stamp = self.path / f"treadle-group-{name}"
        if stamp.exists() and stamp.read_text() == digest:
            return
        say(f"installing {' '.join(requirements)}")
        # An older wheel rather than the newest source: some interpreters are too
        # new or too rare for wheels, and a build may need a toolchain.
        command = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--prefer-binary"]
        command += requirements
        try:
            self._run(command, f"cannot install the requirements of {name!r}")
        except Missing:
            if not group.endswith("?"):
                raise
            say(f"going on without {' '.join(requirements)}")
            return
        stamp.write_text(digest)

    def build(self, variables):
        environment = dict(os.environ, **variables)
        command = [str(self.python), "setup.py", "-q", "build_ext", "--inplace"]
        self._run(command, "the extension does not build", env=environment)

    def _run(self, command, complaint, **options):
        # stdout is for the answer.
        done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, **options)
        if done.returncode:
            raise Missing(f"{complaint} (exit status {done.returncode}: {' '.join(command)})")


def requirements_of(group):
    if group in TOOLS:
        return TOOLS[group]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    try:
        return project["optional-dependencies"][group]
    except KeyError:
        raise Missing(f"there is no group of requirements {group!r}") from None


def require(build):
    """Raises Missing; returns the variables that the build needs."""
    require_venv()
    if not build:
        return {}
    require_headers()
    return compiler()


def prepare(groups, build):
    variables = require(build)
    environment = Environment()
    environment.path.parent.mkdir(exist_ok=True)
    with open(f"{environment.path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment.make()
        for group in groups:
            environment.install(group)
        if build:
            environment.build(variables)
    return environment.python


def main():
    parser = argparse.ArgumentParser(description="Set up build/venv-<interpreter> and print its Python.")
    parser.add_argument("--no-build", action="store_true", help="leave the extension alone")
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    options = parser.parse_args()
    try:
        if options.check:
            require(build=True)
            return 0
        print(prepare(["build", *options.groups], not options.no_build))
    except Missing as missing:
        say(missing)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
