"""tools/env.py and tools/find_python.sh say clearly what is missing."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def env():
    spec = importlib.util.spec_from_file_location("treadle_tools_env", TOOLS / "env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_python(*arguments, **variables):
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    return subprocess.run(
        [str(TOOLS / "find_python.sh"), *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


def fake_python(directory, name, version, abi=""):
    """An executable that answers find_python.sh's question as such an interpreter would."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat >/dev/null\necho {version.replace('.', ' ')} abi{abi} {path}\n")
    path.chmod(0o755)
    return path


def test_no_compiler(env, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(env.Missing, match="no C compiler"):
        env.compiler()


def test_the_compiler_that_was_asked_for_is_not_there(env, monkeypatch):
    monkeypatch.setenv("CC", "nowhere-cc")
    with pytest.raises(env.Missing, match="CC=nowhere-cc"):
        env.compiler()


def test_another_compiler_stands_in_for_the_recorded_one(env, monkeypatch, tmp_path):
    (tmp_path / "cc").write_text("#!/bin/sh\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: "builders-own-gcc -pthread")
    assert env.compiler() == {"CC": "cc", "LDSHARED": "cc -shared"}


def test_no_headers(env, monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(env.Missing, match=f"Python.h .*python{OURS}-dev"):
        env.require_headers()


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_no_venv(env, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(env.Missing, match=f"virtual environments .*python{OURS}-venv"):
        env.require_venv()


def test_an_unknown_group(env):
    with pytest.raises(env.Missing, match="'nonsense'"):
        env.requirements_of("nonsense")


def test_groups_are_the_extras_and_the_tools(env):
    assert any("pytest" in requirement for requirement in env.requirements_of("test"))
    assert env.requirements_of("build") == ["setuptools>=77"]


def test_what_is_missing_is_one_line_and_a_failure(tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", str(TOOLS / "env.py"), "--check"],
        env={"PATH": str(tmp_path), "CC": "nowhere-cc"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("treadle: ") and done.stderr.count("\n") == 1


def test_the_named_interpreter_is_used(tmp_path):
    python = fake_python(tmp_path, "mine", "3.12")
    done = find_python(PYTHON=str(python))
    assert (done.returncode, done.stdout) == (0, f"{python}\n")


@pytest.mark.parametrize(
    ("version", "words"), [("3.10", "too old"), ("2.7", "too old"), ("3.99", "too new"), ("", "not a CPython")]
)
def test_a_named_interpreter_that_will_not_do(tmp_path, version, words):
    python = fake_python(tmp_path, "mine", version) if version else tmp_path / "gone"
    for arguments, variables in ([], {"PYTHON": str(python)}), (["all"], {"PYTHONS": str(python)}):
        done = find_python(*arguments, **variables)
        assert done.returncode == 1
        assert done.stdout == ""
        assert str(python) in done.stderr and words in done.stderr


def test_no_interpreter_at_all(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in "sh", "cat", "sort", "cut":
        (tools / name).symlink_to(next(p for d in os.environ["PATH"].split(":") if (p := pathlib.Path(d, name)).exists()))
    done = find_python(PATH=str(tools))
    assert done.returncode == 1
    assert "no Python 3.11 or newer found" in done.stderr


def test_a_newer_one_is_found_where_python3_is_too_old(tmp_path):
    fake_python(tmp_path, "bin/python3", "3.9")
    newer = fake_python(tmp_path, "pyenv/versions/3.13.1/bin/python3", "3.13")
    path = f"{tmp_path}/bin:/bin"
    for name in "python3.15", "python3.14", "python3.13", "python3.12", "python3.11":
        fake_python(tmp_path, f"bin/{name}", "3.8")
    done = find_python(PATH=path, PYENV_ROOT=str(tmp_path / "pyenv"))
    assert (done.returncode, done.stdout) == (0, f"{newer}\n"), done.stderr


def test_one_of_each_version_and_build(tmp_path):
    cache = tmp_path / "cache" / "pythons"
    wanted = [
        fake_python(cache, "3.11/bin/python3", "3.11"),
        fake_python(cache, "3.13/bin/python3", "3.13"),
        fake_python(cache, "3.13t/bin/python3", "3.13", "t"),
    ]
    fake_python(cache, "zz/bin/python3", "3.13")
    fake_python(cache, "3.10/bin/python3", "3.10")
    fake_python(tmp_path, "bin/python3", "3.9")
    for minor in range(11, 16):
        fake_python(tmp_path, f"bin/python3.{minor}", "3.9")
        fake_python(tmp_path, f"bin/python3.{minor}t", "3.9")
    done = find_python("all", PATH=f"{tmp_path}/bin:/bin:/usr/bin", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert [pathlib.Path(line) for line in done.stdout.splitlines()] == wanted
