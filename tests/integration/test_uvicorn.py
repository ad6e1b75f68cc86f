"""uvicorn with httptools: as a program that is told its loop by name, and on a loop with its client (httpx)."""

import asyncio
import contextlib
import signal
import sys

import pytest
from support.asgi_app import DIGEST, PART, PARTS, app
from support.packages import need
from support.serving import Client, free_port, serving, wait_for_port

uvicorn, _, httpx, websockets = need("uvicorn", "httptools", "httpx", "websockets")

LOOPS = {"stock": ("asyncio", "asyncio.unix_events."), "treadle": ("treadle:new_event_loop", "treadle._loop.EventLoop")}


@contextlib.contextmanager
def program(loop_name, folder, *options):
    """uvicorn as a program; yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "support.asgi_app:app", "--port", str(port), "--http", "httptools"]
    command += ["--loop", LOOPS[loop_name][0], "--no-access-log", *options]
    # having stopped, it sends itself the signal once more; with several processes it does not
    with serving(command, folder, statuses=(0, -signal.SIGTERM)) as alive:
        wait_for_port(port, alive)
        yield port


def test_loop_is_selected_by_name(loop_name, tmp_path):
    with program(loop_name, tmp_path, "--lifespan", "on") as port, Client(port) as client:
        status, answer = client.request("GET", "/loop")
        assert status == 200
        assert answer.decode().startswith(LOOPS[loop_name][1]) and answer.endswith(b" True")
        for number in range(300):
            assert client.request("GET", f"/{number}") == (200, f"GET /{number}".encode())
        assert client.request("POST", "/in", PART * PARTS) == (200, DIGEST.encode())
        assert client.request("GET", "/out") == (200, PART * PARTS)


def test_several_processes(loop_name, tmp_path):
    with program(loop_name, tmp_path, "--workers", "2") as port:
        for _ in range(10):
            with Client(port) as client:
                assert client.request("GET", "/loop")[1].decode().startswith(LOOPS[loop_name][1])


@contextlib.asynccontextmanager
async def server(**options):
    """uvicorn on the running loop; yields its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="httptools", log_level="error", lifespan="on", **options))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "uvicorn does not start"
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


def test_httpx(run):
    async def body():
        for _ in range(PARTS):
            yield PART

    async def main():
        async with server() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for number in range(50):
                assert (await client.get(f"/{number}")).text == f"GET /{number}"
            assert (await client.post("/in", content=body())).text == DIGEST
            size = 0
            async with client.stream("GET", "/out") as response:
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
            assert size == len(PART) * PARTS
            answers = await asyncio.gather(*(client.get("/wait") for _ in range(50)))
            assert [answer.status_code for answer in answers] == [200] * 50
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/wait", timeout=0.01)

    run(main)


@pytest.mark.parametrize("implementation", ["websockets-sansio", "wsproto"])
def test_websocket(run, implementation):
    need("wsproto")

    async def main():
        async with (
            server(ws=implementation) as port,
            websockets.connect(f"ws://127.0.0.1:{port}", max_size=None) as client,
        ):
            for message in ["text", b"bytes", PART * 8, "again"]:
                await client.send(message)
                assert await client.recv() == message

    run(main)
