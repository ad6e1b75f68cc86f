"""Try an installed treadle: smoke.py SOURCES, where nothing may come from."""

import importlib.metadata
import pathlib
import subprocess
import sys

import treadle
from treadle import _native


def main(sources):
    package = pathlib.Path(treadle.__file__).resolve().parent
    inside = pathlib.Path(sys.prefix).resolve()
    assert package.is_relative_to(inside), f"{package} is not in {inside}"
    assert not package.is_relative_to(pathlib.Path(sources, "python")), f"{package} is the source tree"
    assert pathlib.Path(_native.__file__).resolve().parent == package, _native.__file__

    version = importlib.metadata.version("treadle")
    assert treadle.__version__ == version, (treadle.__version__, version)
    for name in "py.typed", "_native.pyi", "include/treadle.h":
        assert (package / name).is_file(), f"{name} is not in the wheel"
    assert (pathlib.Path(treadle.get_include()) / "treadle.h").is_file(), treadle.get_include()

    with treadle.ThreadPoolExecutor(2) as pool:
        assert pool.submit(pow, 2, 10).result(30) == 1024
        assert list(pool.map(abs, range(-1000, 0))) == list(range(1000, 0, -1))
        futures = [pool.submit(divmod, n, 7) for n in range(100)]
        done, pending = treadle.wait(futures, timeout=30)
        assert len(done) == 100 and not pending
        assert [future.result() for future in futures] == [divmod(n, 7) for n in range(100)]

    shown = subprocess.run([sys.executable, "-I", "-m", "treadle", "demo", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0 and "--delay" in shown.stdout, shown
    print(f"treadle {version} works from {package}")


if __name__ == "__main__":
    main(sys.argv[1])
