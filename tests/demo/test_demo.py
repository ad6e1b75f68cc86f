"""The demo as a command: what it prints, what it returns, what it leaves behind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import treadle
from treadle import __main__ as cli
from treadle._demo import child, command, echo, files, loop_pages, loops, pages, pools
from treadle._demo.section import DemoError, Settings

PATIENCE = 60


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, with its output captured."""
    return subprocess.run(
        [sys.executable, "-m", "treadle", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def one_section(monkeypatch: pytest.MonkeyPatch, make: object) -> None:
    monkeypatch.setattr(command, "SECTIONS", [make])


class Corrupting(concurrent.futures.ThreadPoolExecutor):
    """A pool that gets its last result wrong."""

    def map(self, *arguments, **options):
        *results, _ = super().map(*arguments, **options)
        return iter([*results, "wrong"])


class Dropping(concurrent.futures.ThreadPoolExecutor):
    """A pool that loses a result."""

    def map(self, *arguments, **options):
        return iter(list(super().map(*arguments, **options))[1:])


def test_quick_demo_agrees_and_prints_the_table(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = run_cli("demo", "--quick", "--json", str(figures))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All results agree." in done.stdout
    assert done.stderr == ""  # no progress line away from a terminal
    for start in (
        "treadle ",
        "machine ",
        "interpreter ",
        "job ",
        "fetch 6 pages",
        "hash and ",
        "map ",
        "processes: count words of ",
        "processes: find the primes below 5,000",
        "asyncio: fetch 6 pages",
        "asyncio: echo 500 messages",
        "time of an echo",
    ):
        assert any(line.startswith(start) for line in done.stdout.splitlines()), start
    document = json.loads(figures.read_text())
    assert document["agree"] is True
    keys = [section["key"] for section in document["sections"]]
    assert keys == ["pages", "files", "items", "words", "primes", "loop-pages", "loop-echo"]
    for section in document["sections"]:
        loop = section["key"].startswith("loop-")
        roles = {"asyncio"} if loop else {"one by one", "concurrent.futures"}
        assert set(section["best"]) == {*roles, "treadle"}
        assert all(best > 0 for best in section["best"].values())
    latency = document["sections"][-1]["latency"]
    assert set(latency) == {"asyncio", "treadle"}
    for quantiles in latency.values():
        assert 0 < quantiles["p50"] <= quantiles["p90"] <= quantiles["p99"]


def test_arguments_reach_the_sections(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    sizes = (
        "--pages",
        "3",
        "--delay",
        "0.03",
        "--items",
        "77",
        "--workers",
        "3",
        "--messages",
        "47",
    )
    done = run_cli("demo", "--quick", *sizes, "--json", str(figures))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fetch 3 pages, 0.03 s each" in done.stdout
    assert "over 77 items" in done.stdout
    slow, *others, pages_, echoes = json.loads(figures.read_text())["sections"]
    assert slow["best"]["one by one"] >= 3 * 0.03
    assert slow["best"]["treadle"] >= 0.03
    assert {section["workers"] for section in (slow, *others)} == {3}
    assert {section["workers"] for section in (pages_, echoes)} == {1}
    assert "asyncio: fetch 3 pages" in done.stdout and "echo 40 messages" in done.stdout


@pytest.mark.parametrize("make", command.THREADS)
@pytest.mark.parametrize("broken", [Corrupting, Dropping])
def test_a_wrong_result_is_told_and_exits_1(make, broken, monkeypatch, capsys) -> None:
    one_section(monkeypatch, make)
    monkeypatch.setattr(treadle, "ThreadPoolExecutor", broken)
    assert cli.main(["demo", "--quick"]) == 1
    output = capsys.readouterr().out
    assert "RESULTS DIFFER: " in output
    assert "treadle differs from one by one: " in output
    assert "DIFFER" in output and "All results agree" not in output


class CorruptingLoop(asyncio.SelectorEventLoop):
    """A loop whose transports get the last byte of everything wrong."""

    def _make_socket_transport(self, sock, protocol, *arguments, **options):
        received = protocol.data_received
        protocol.data_received = lambda data: received(data[:-1] + bytes([data[-1] ^ 1]))
        return super()._make_socket_transport(sock, protocol, *arguments, **options)


@pytest.mark.parametrize("make", command.LOOPS)
def test_a_loop_that_gets_it_wrong_is_told_and_exits_1(make, monkeypatch, capsys) -> None:
    one_section(monkeypatch, make)
    monkeypatch.setattr(treadle, "new_event_loop", CorruptingLoop)
    assert cli.main(["demo", "--quick"]) == 1
    output = capsys.readouterr().out
    assert "RESULTS DIFFER: asyncio: " in output
    assert "treadle differs from asyncio: result 0 is " in output


def test_the_loops_run_where_they_should() -> None:
    async def job(tick) -> list[str]:
        tick()
        return [type(asyncio.get_running_loop()).__name__]

    ticks: list[None] = []
    sides = loops.sides(job)
    results = {side.role.value: side.run(lambda: ticks.append(None)) for side in sides}
    assert results == {
        "asyncio": [asyncio.SelectorEventLoop.__name__],
        "treadle": [treadle.EventLoop.__name__],
    }
    assert len(ticks) == 2


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [(b"HTTP/1.1 404 Not Found\r\n\r\n", "came with b'HTTP/1.1 404"), (b"", "came with b''")],
)
def test_a_page_that_does_not_come_is_an_error(answer: bytes, complaint: str) -> None:
    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await loop_pages.fetch(server.sockets[0].getsockname()[1], 1)

    with pytest.raises(DemoError, match=complaint):
        asyncio.run(main())


def test_an_echo_server_that_hangs_up_is_an_error(monkeypatch, capsys) -> None:
    class Rude(asyncio.Protocol):
        def connection_made(self, transport) -> None:
            transport.abort()

    one_section(monkeypatch, echo.make)
    monkeypatch.setattr(echo, "Echo", Rude)
    assert cli.main(["demo", "--quick"]) == 1
    assert "demo: failed: " in capsys.readouterr().err


def test_a_load_generator_that_goes_away_is_an_error(monkeypatch, capsys) -> None:
    one_section(monkeypatch, echo.make)
    monkeypatch.setattr(echo, "SIZE", "not a number")
    assert cli.main(["demo", "--quick"]) == 1
    assert "demo: failed: the load generator did not start" in capsys.readouterr().err


@pytest.mark.parametrize("said", [b"", b'{"error": "no route"}\n'])
def test_what_goes_wrong_under_load_is_told(said: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        os.write(writing, said)
        os.close(writing)
        with open(tmp_path / "asked", "wb") as asked, open(reading, "rb") as answers:
            await echo.Loader(child.Child(0, "ready", asked, answers)).load(77)

    with pytest.raises(DemoError, match="no route" if said else "went away"):
        asyncio.run(main())
    assert (tmp_path / "asked").read_bytes() == b"77\n"


def test_an_error_of_the_job_exits_1_with_a_line(monkeypatch, capsys) -> None:
    def unreadable(root: Path, path: Path) -> None:
        raise PermissionError(f"cannot read {path.name}")

    one_section(monkeypatch, files.make)
    monkeypatch.setattr(files, "digest_and_compress", unreadable)
    assert cli.main(["demo", "--quick"]) == 1
    assert "demo: failed: cannot read" in capsys.readouterr().err


def test_without_a_command_help_is_printed() -> None:
    done = run_cli()
    assert done.returncode == 0
    assert "demo" in done.stdout and "usage: python -m treadle" in done.stdout


def test_version() -> None:
    done = run_cli("--version")
    assert (done.returncode, done.stdout) == (0, f"treadle {treadle.__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--pages", "0"),
        ("--items", "-1"),
        ("--workers", "x"),
        ("--delay", "nan"),
        ("--delay", "-1"),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple[str, str]) -> None:
    done = run_cli("demo", *arguments)
    assert done.returncode == 2
    assert f"argument {arguments[0]}: " in done.stderr


def test_fetch_gives_up_on_a_missing_page() -> None:
    with pages.running_server(0.0) as port, pytest.raises(DemoError, match="status 404"):
        pages.fetch(port, 5.0, "missing")  # type: ignore[arg-type]


def test_server_stops_when_the_section_fails() -> None:
    with pytest.raises(RuntimeError, match="on purpose"), pages.running_server(0.0) as port:
        assert pages.fetch(port, 5.0, 1) == pages.fetch(port, 5.0, 1)
        raise RuntimeError("on purpose")
    with pytest.raises(ConnectionRefusedError):
        pages.fetch(port, 5.0, 1)


def test_a_server_that_does_not_start_is_told(monkeypatch) -> None:
    monkeypatch.setattr(pages.server, "__file__", "/nonexistent/server.py")
    with pytest.raises(DemoError, match="did not start"), pages.running_server(0.0):
        pytest.fail("there is no server")


def test_pages_are_different_from_each_other() -> None:
    bodies = {pages.server.render(number) for number in range(20)}
    assert len(bodies) == 20
    assert {len(body) for body in bodies} == {pages.server.PAGE_BYTES}


def test_files_are_chosen_in_order_and_within_the_limit(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "c.txt", "site-packages/x.py", "d.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10)
    assert [path.name for path in files.choose_files(tmp_path, 100)] == ["a.py", "b.py", "d.py"]
    assert [path.name for path in files.choose_files(tmp_path, 25)] == ["a.py", "b.py"]


def test_no_files_at_all_is_an_error(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DemoError, match="no source files"):
        files.make(Settings())


def test_pool_sides_use_the_pools_they_are_named_after(monkeypatch) -> None:
    built = []

    class Recording(concurrent.futures.ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            built.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(treadle, "ThreadPoolExecutor", Recording)
    alone, standard, native = pools.sides(abs, [-1, -2], 2)
    assert alone.run(lambda: None) == standard.run(lambda: None) == [1, 2]
    assert built == []
    assert native.run(lambda: None) == [1, 2]
    assert built == [2]


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="finds the child process through /proc"
)


@needs_proc
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -9)],
)
def test_no_server_is_left_behind(number: int, status: int) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "treadle", "demo", "--delay", "30"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        child = wait_for(lambda: server_of(demo.pid), "the server to start")
        time.sleep(0.2)  # into the first fetch
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=PATIENCE)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == status
    assert b"Traceback" not in errors
    wait_for(lambda: not alive(child), "the server to go")


def server_of(parent: int) -> int:
    """The process id of the page server among the children of `parent`, 0 if there is none."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and parent_of(entry) == parent:
                if b"server.py" in (entry / "cmdline").read_bytes():
                    return int(entry.name)
        except OSError:
            continue
    return 0


def parent_of(entry: Path) -> int:
    return int((entry / "stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, what: str):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    pytest.fail(f"waited {PATIENCE} s for {what}")
