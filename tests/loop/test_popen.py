"""The loop's Popen: starts what subprocess.Popen starts, in the same environment, and fails alike."""

import os
import pathlib
import subprocess
import sys

import pytest
from treadle._popen import Popen

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
SHOW = "import os, sys; sys.stdout.write(repr((sys.argv[1:], sorted(os.environb.items()))))"


@pytest.fixture(params=[subprocess.Popen, Popen], ids=["stock", "treadle"])
def popen(request):
    return request.param


def output(popen, args, **options):
    with popen(args, stdout=subprocess.PIPE, **options) as process:
        out = process.stdout.read()
    assert process.returncode == 0
    return out


def environment_seen(popen, env):
    return dict(eval(output(popen, [sys.executable, "-S", "-E", "-c", SHOW], env=env))[1])


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"A": "1", "B": "", "C": "a=b=c"},
        {"ä": "ö\udcff"},
        {b"A": b"\xff", b"B": b"2"},
        {"A": pathlib.Path("/x"), b"B": "3"},
    ],
    ids=repr,
)
def test_environment(popen, env):
    seen = environment_seen(popen, env)
    expected = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
    assert {name: value for name, value in seen.items() if name in expected} == expected
    assert set(seen) - set(expected) <= {b"LC_CTYPE"}  # Python sets it itself


def test_environment_of_this_process(popen, monkeypatch):
    monkeypatch.setenv("TREADLE_TEST", "1")
    for env in (None, os.environ, os.environb):
        assert environment_seen(popen, env)[b"TREADLE_TEST"] == b"1"


def test_programs_are_looked_for_where_the_environment_says(popen, tmp_path, monkeypatch):
    for place, word in (("one", "1"), ("two", "2")):
        (tmp_path / place).mkdir()
        script = tmp_path / place / "treadle-say"
        script.write_text(f"#!/bin/sh\necho {word}")
        script.chmod(0o755)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    monkeypatch.setenv("PATH", f"/no/such/place:{two}:{one}:/bin:/usr/bin")
    assert output(popen, ["treadle-say"]) == b"2\n"
    assert output(popen, [b"treadle-say"]) == b"2\n"
    assert output(popen, ["treadle-say"], env={"PATH": f"{one}:{two}"}) == b"1\n"
    assert output(popen, ["x"], executable="treadle-say") == b"2\n"
    with pytest.raises(FileNotFoundError) as info:
        popen(["treadle-say"], env={"PATH": "/no/such/place"})
    assert info.value.filename == "treadle-say"


@pytest.mark.parametrize("command", ["echo $0 $TREADLE_TEST", b"echo $0 $TREADLE_TEST"])
def test_shell(popen, command, tmp_path):
    (tmp_path / "other").symlink_to("/bin/sh")
    env = {"TREADLE_TEST": "x"}
    assert output(popen, command, shell=True, env=env) == b"/bin/sh x\n"
    assert output(popen, [command, "name"], shell=True) == b"name\n"
    assert output(popen, command, shell=True, executable=tmp_path / "other", env=env).endswith(b"/other x\n")


@pytest.mark.parametrize("kind", [pathlib.Path, str, str.encode, lambda path: iter([path]), lambda path: (path,)])
def test_arguments_that_are_no_list(popen, kind):
    assert output(popen, kind("/bin/echo")) == b"\n"


@pytest.mark.parametrize("order", [1, -1])
def test_descriptors_to_keep(popen, order):
    pipes = [os.pipe() for _ in range(3)]
    kept = [end for pair in pipes[:2] for end in pair][::order]
    listing = "import os; print(sorted(os.listdir('/proc/self/fd')))"
    seen = output(popen, [sys.executable, "-S", "-c", listing], pass_fds=(*kept, kept[0]))
    numbers = set(map(int, eval(seen)))
    assert numbers >= set(kept) and not numbers & set(pipes[2])
    for end in (end for pair in pipes for end in pair):
        os.close(end)


FAILURES = [
    {"env": {"a=b": "c"}},
    {"env": {b"a=b": "c"}},
    {"env": {"a\0": "b"}},
    {"env": {"a": 1}},
    {"env": {1: "a"}},
    {"env": 5},
    {"env": ["a"]},
    {"pass_fds": [-1]},
    {"pass_fds": ["x"]},
    {"pass_fds": [1 << 40]},
    {"pass_fds": 5},
    {"cwd": "/no/such/place", "env": {}},
    {"args": [], "env": {}},
    {"args": ["no-such-program"], "env": {}},
    {"args": ["/no/such/program"], "pass_fds": [1]},
    {"args": pathlib.Path("/bin/true"), "shell": True},
    {"args": "true", "shell": True, "executable": "/no/such/shell"},
    {"args": "true", "shell": True, "executable": ""},
    {"args": [1], "shell": True},
    {"args": 5},
]


@pytest.mark.parametrize("options", FAILURES, ids=repr)
def test_what_cannot_be_started(options):
    def attempt(popen):
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            popen(**{"args": ["/bin/true"], **options}).wait()
            outcome = None
        except Exception as error:
            outcome = type(error), str(error), getattr(error, "filename", None)
        assert sorted(os.listdir("/proc/self/fd")) == before
        return outcome

    assert attempt(Popen) == attempt(subprocess.Popen)
