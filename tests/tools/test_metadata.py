"""The version is written down once, and what names versions agrees."""

import importlib
import pathlib
import re
import tomllib

import treadle

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_build_takes_the_version_from_there():
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in metadata["project"]
    module, _, name = metadata["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is treadle.__version__


def test_the_changelog_starts_with_this_version():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest[1] == treadle.__version__


def test_every_supported_version_is_classified():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    script = (ROOT / "tools" / "find_python.sh").read_text()
    oldest, newest = (int(re.search(rf"^{name}=(\d+)$", script, flags=re.MULTILINE)[1]) for name in ("oldest", "newest"))
    classified = [f"Programming Language :: Python :: 3.{minor}" for minor in range(oldest, newest + 1)]
    assert [line for line in project["classifiers"] if re.search(r"Python :: 3\.\d+$", line)] == classified
    assert project["requires-python"] == f">=3.{oldest}"
