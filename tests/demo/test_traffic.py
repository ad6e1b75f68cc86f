"""The load generator and the servers it is pointed at: they agree, and what is wrong is noticed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest

LOOPS = ("asyncio", "treadle")
FORMS = {"protocol": "tcp", "buffered": "tcp", "streams": "tcp", "sock": "tcp"}
FORMS |= {"unix": "unix", "udp": "udp"}
LARGE = 300_000  # more than a socket takes at once
PATIENCE = 60


@pytest.fixture(autouse=True)
def _needs_a_compiler(bench):
    if reason := bench.ccompiler.why_not():
        pytest.skip(reason)


def few(bench, form: str, size: int, connections: int = 3):
    return bench.traffic.Load(form, connections, size, warm_up=0, requests=50)


def check(sample) -> None:
    assert 0 < sample.cost < 1 and 0 < sample.wall < 1
    latency = sample.latency
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("server", FORMS)
def test_every_server_echoes(bench, server: str, name: str) -> None:
    command = partial(bench.traffic.loop_server, server, name)
    check(bench.traffic.measure(command, few(bench, FORMS[server], 1500)))


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("server", ["protocol", "streams"])
def test_large_messages(bench, server: str, name: str) -> None:
    command = partial(bench.traffic.loop_server, server, name)
    check(bench.traffic.measure(command, few(bench, "tcp", LARGE)))


@pytest.mark.parametrize(
    ("form", "size"), [("tcp", 1), ("tcp", LARGE), ("unix", 1024), ("unix", LARGE), ("udp", 1024)]
)
def test_plain_servers_echo(bench, form: str, size: int) -> None:
    check(
        bench.traffic.measure(
            partial(bench.traffic.plain_server, form), few(bench, form, size, connections=20)
        )
    )


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("server", ["uvicorn", "aiohttp"])
def test_web_servers(bench, server: str, name: str) -> None:
    for package in bench.bench_loop.WEB_PACKAGES[server]:
        pytest.importorskip(package, reason="it is only measured where it is installed")
    size = len(bench.echo_servers.BODY)
    command = partial(bench.traffic.loop_server, server, name)
    check(bench.traffic.measure(command, few(bench, "http", size)))


def test_rows_about_traffic_run(bench) -> None:
    rows = {row.key: row for row in bench.bench_loop.rows(quick=True)}
    for key in ("tcp-10", "udp"):
        row = rows[key].only(["asyncio", "treadle", "plain C"])
        result = bench.harness.measure(row, 1, lambda text: None)
        assert result.failures == {}
        assert result.ratio > 0 and result.over_floor > -1


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_memory_of_idle_connections(bench) -> None:
    command = partial(bench.traffic.loop_server, "protocol", "asyncio")
    assert 0 < bench.traffic.memory_of_idle(command, 500).cost < 100_000


def test_a_server_that_does_not_start_says_why(bench) -> None:
    def command(path: str) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('not today')"]

    with pytest.raises(bench.harness.Unable, match="not today"):
        bench.traffic.measure(command, few(bench, "tcp", 10))


@contextlib.contextmanager
def serving(answer: Callable[[bytes], bytes]):
    """One connection whose every message is answered so; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(ConnectionError):
                while data := connection.recv(1 << 16):
                    if not (reply := answer(data)):
                        return
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def generate(bench, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [bench.traffic.program("generator"), "-a", str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def http_answer(body: bytes, head: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return head + b"\r\ncontent-LENGTH: %d\r\nX: y\r\n\r\n" % len(body) + body


def numbered(bodies: list[bytes]) -> Callable[[bytes], bytes]:
    left = iter(bodies)
    return lambda data: http_answer(next(left))


def test_it_counts_the_requests_asked_for(bench) -> None:
    with serving(lambda data: data) as port:
        done = generate(bench, port, "-s", "100", "-n", "7")
    found = json.loads(done.stdout)
    assert (done.returncode, found["requests"]) == (0, 7)
    assert "server_cpu" not in found
    assert found["seconds"] >= found["latency"]["max"] > 0


def test_http_answers_are_understood(bench) -> None:
    with serving(lambda data: http_answer(b"hello")) as port:
        done = generate(bench, port, "-k", "http", "-s", "5", "-n", "3")
    assert (done.returncode, json.loads(done.stdout)["requests"]) == (0, 3)


@pytest.mark.parametrize(
    ("form", "answer", "complaint"),
    [
        ("tcp", lambda data: bytes(len(data)), "not what was sent"),
        ("tcp", lambda data: data + b"x", "more came back"),
        ("tcp", lambda data: b"", "closed a connection"),
        ("http", lambda data: http_answer(b"four"), "not the size agreed on"),
        ("http", lambda data: http_answer(b"hello", b"HTTP/1.1 404 No"), "status is not 200"),
        ("http", lambda data: b"HTTP/1.1 200 OK\r\n\r\nhello", "without Content-Length"),
        ("http", lambda data: http_answer(b"hello") + b"x", "bytes after the answer"),
        ("http", numbered([b"hello", b"jello"]), "two bodies differ"),
    ],
)
def test_wrong_answers_are_noticed(bench, form: str, answer, complaint: str) -> None:
    with serving(answer) as port:
        done = generate(bench, port, "-k", form, "-s", "5", "-n", "3")
    assert done.returncode == 1
    assert complaint in done.stderr and done.stdout == ""


@pytest.mark.parametrize("arguments", [("-c", "0"), ("-s", "x"), ("-k", "carrier-pigeon")])
def test_wrong_arguments_are_refused(bench, arguments: tuple[str, ...]) -> None:
    done = generate(bench, 1, *arguments)
    assert done.returncode == 1 and done.stderr
