"""What the figures were measured on: machine and interpreter, without anything private."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Machine:
    """The hardware and the system.  `cores` is what this process may use."""

    cores: int
    cpu: str
    architecture: str
    system: str

    def line(self) -> str:
        """All of it in one line."""
        plural = "core" if self.cores == 1 else "cores"
        return f"{self.cores} {plural}, {self.cpu}, {self.architecture}, {self.system}"


@dataclass(frozen=True)
class Interpreter:
    """The Python in use.  `tag` tells builds apart in file names, such as cp313 or cp313t."""

    implementation: str
    version: str
    gil: str
    tag: str

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.implementation} {self.version}, {self.gil}"


def machine() -> Machine:
    """Look at this machine."""
    return Machine(
        cores=usable_cores(),
        cpu=_cpu_model(),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
    )


def interpreter() -> Interpreter:
    """Look at this interpreter."""
    major, minor = sys.version_info[:2]
    suffix = "t" if free_threaded_build() else ""
    return Interpreter(
        implementation=platform.python_implementation(),
        version=platform.python_version(),
        gil=_gil_state(),
        tag=f"cp{major}{minor}{suffix}",
    )


def as_json() -> dict[str, object]:
    """Machine and interpreter for a JSON document."""
    return {
        "machine": asdict(machine()),
        "interpreter": asdict(interpreter()),
        "treadle": treadle_version(),
    }


def usable_cores() -> int:
    """The number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_threaded_build() -> bool:
    """Whether this interpreter was built so that it can run without the GIL."""
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def gil_enabled() -> bool:
    """Whether the GIL is on now (a free-threaded build may have switched it on)."""
    probe = getattr(sys, "_is_gil_enabled", None)
    return True if probe is None else bool(probe())


def treadle_version() -> str:
    """The version of the package in use."""
    import treadle

    return treadle.__version__


def _gil_state() -> str:
    if not free_threaded_build():
        return "with the GIL"
    return "free-threaded build, GIL " + ("on" if gil_enabled() else "off")


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or "unknown CPU"
