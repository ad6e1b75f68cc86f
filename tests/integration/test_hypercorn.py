"""hypercorn: HTTP/2 on a loop with its client (httpx), and as a program whose application selects the loop."""

import asyncio
import contextlib
import socket
import sys

from support.asgi_app import DIGEST, PART, PARTS, app
from support.packages import need
from support.serving import Client, listening, serving, wait_for_port

_, httpx, _ = need("hypercorn", "httpx", "h2")
from hypercorn.asyncio import serve  # noqa: E402
from hypercorn.config import Config  # noqa: E402


@contextlib.asynccontextmanager
async def server(pem):
    """hypercorn on the running loop, with TLS; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.certfile = config.keyfile = pem
    config.bind = [f"fd://{listener.fileno()}"]
    config.accesslog = config.errorlog = None
    port, stop = listener.getsockname()[1], asyncio.Event()
    listener.detach()  # hypercorn will close it
    task = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    yield port
    stop.set()
    await task


def test_http2(run, tls):
    async def main():
        async with (
            server(tls.pem) as port,
            httpx.AsyncClient(base_url=f"https://localhost:{port}", http2=True, verify=tls.client) as client,
        ):
            answer = await client.get("/page")
            assert answer.http_version == "HTTP/2" and answer.text == "GET /page"
            # streams of one connection, side by side
            answers = await asyncio.gather(*(client.get("/wait") for _ in range(50)))
            assert [answer.text for answer in answers] == ["GET /wait"] * 50
            assert (await client.post("/in", content=PART * PARTS)).text == DIGEST
            assert (await client.get("/out")).content == PART * PARTS

    run(main)


def test_application_selects_the_loop(loop_name, tmp_path):
    install = "import treadle; treadle.install()\n" if loop_name == "treadle" else ""
    (tmp_path / "selecting.py").write_text(f"{install}from support.asgi_app import app\n")
    with listening() as listener:
        # the workers are started afresh and inherit nothing but the sockets they are given
        command = [sys.executable, "-m", "hypercorn", "--bind", f"fd://{listener.fileno()}", "selecting:app"]
        with serving(command, tmp_path, pass_fds=[listener.fileno()]) as alive:
            port = listener.getsockname()[1]
            wait_for_port(port, alive)
            with Client(port) as client:
                loop = client.request("GET", "/loop")[1].decode()
                assert ("treadle" in loop) is (loop_name == "treadle") and loop.endswith(" True")
                for number in range(100):
                    assert client.request("GET", f"/{number}") == (200, f"GET /{number}".encode())
                assert client.request("POST", "/in", PART * PARTS) == (200, DIGEST.encode())
