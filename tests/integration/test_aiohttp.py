"""aiohttp: server and client on one loop."""

import asyncio
import contextlib
import hashlib

import pytest
from support.packages import need

aiohttp = need("aiohttp")
from aiohttp import web  # noqa: E402

PARTS = [(bytes(range(256)) * 256)[n:] for n in range(128)]  # 8 MiB
DIGEST = hashlib.sha256(b"".join(PARTS)).hexdigest()


async def produce():
    for part in PARTS:
        await asyncio.sleep(0)
        yield part


async def page(request):
    peer = request.transport.get_extra_info("peername")
    return web.json_response({"path": request.path, "query": dict(request.query), "peer": peer})


async def take_in(request):
    digest = hashlib.sha256()
    async for chunk in request.content.iter_any():
        digest.update(chunk)
    return web.Response(text=digest.hexdigest())


async def give_out(request):
    response = web.StreamResponse()
    await response.prepare(request)
    async for part in produce():
        await response.write(part)
    await response.write_eof()
    return response


async def echo_messages(request):
    socket = web.WebSocketResponse(max_msg_size=1 << 24)
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            if message.data == "close":
                await socket.close(code=4000, message=b"as you wish")
                break
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


ROUTES = [
    web.get("/page/{tail:.*}", page),
    web.post("/in", take_in),
    web.get("/out", give_out),
    web.get("/messages", echo_messages),
]


@contextlib.asynccontextmanager
async def serve(routes=ROUTES, *, make_site=None, **options):
    """The routes being served; yields the URL."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        site = make_site(runner) if make_site else web.TCPSite(runner, "127.0.0.1", 0, **options)
        await site.start()
        scheme = "https" if options.get("ssl_context") else "http"
        port = runner.addresses[0][1]
        yield f"{scheme}://localhost" if make_site else f"{scheme}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def get_pages(session, url, count):
    """The addresses that the server saw the requests come from."""
    peers = set()
    for number in range(count):
        async with session.get(f"{url}/page/{number}", params={"n": str(number)}) as response:
            assert response.status == 200
            answer = await response.json()
        assert (answer["path"], answer["query"]) == (f"/page/{number}", {"n": str(number)})
        peers.add(str(answer["peer"]))
    return peers


def test_connection_is_kept_alive(run):
    async def main():
        async with serve() as url, aiohttp.ClientSession() as session:
            assert len(await get_pages(session, url, 200)) == 1

    run(main)


def test_many_clients(run):
    async def main():
        async with serve() as url, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=50)) as session:
            peers = await asyncio.gather(*(get_pages(session, url, 20) for _ in range(50)))
        assert 1 < len(set.union(*peers)) <= 50

    run(main)


def test_streaming_both_ways(run):
    async def main():
        async with serve() as url, aiohttp.ClientSession() as session:
            async with session.post(f"{url}/in", data=produce()) as response:
                assert await response.text() == DIGEST
            digest = hashlib.sha256()
            async with session.get(f"{url}/out") as response:
                async for chunk in response.content.iter_chunked(10_000):
                    digest.update(chunk)
            assert digest.hexdigest() == DIGEST

    run(main)


@pytest.mark.parametrize("compress", [0, 15])
def test_websocket(run, compress):
    async def main():
        async with (
            serve() as url,
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/messages", max_msg_size=1 << 24, compress=compress) as socket,
        ):
            for number in range(100):
                await socket.send_str(f"message {number}")
                assert await socket.receive_str() == f"message {number}"
            large = b"".join(PARTS[:32])
            await socket.send_bytes(large)
            assert await socket.receive_bytes() == large
            for number in range(100):  # ahead of the answers
                await socket.send_str(str(number))
            assert [await socket.receive_str() for _ in range(100)] == [str(number) for number in range(100)]
            await socket.send_str("close")
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 4000

    run(main)


def test_tls(run, tls):
    async def main():
        connector = aiohttp.TCPConnector(ssl=tls.client)
        async with serve(ssl_context=tls.server) as url, aiohttp.ClientSession(connector=connector) as session:
            assert len(await get_pages(session, url, 20)) == 1
            async with session.post(f"{url}/in", data=produce()) as response:
                assert await response.text() == DIGEST
            async with session.ws_connect(f"{url}/messages") as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"

    run(main)


def test_unix_socket(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        async with (
            serve(make_site=lambda runner: web.UnixSite(runner, path)) as url,
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
        ):
            await get_pages(session, url, 20)

    run(main)


def test_file_is_served(run, tmp_path):
    """By way of loop.sendfile()."""
    (tmp_path / "file").write_bytes(b"".join(PARTS))

    async def main():
        async with serve([web.static("/", tmp_path)]) as url, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/file") as response:
                assert hashlib.sha256(await response.read()).hexdigest() == DIGEST
            async with session.get(f"{url}/file", headers={"Range": "bytes=1000-1999"}) as response:
                assert response.status == 206 and await response.read() == b"".join(PARTS)[1000:2000]

    run(main)


def test_handler_is_cancelled_when_the_client_leaves(run):
    events = []

    async def wait(request):
        events.append("started")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async def main():
        async with serve([web.get("/", wait)]) as url, aiohttp.ClientSession() as session:
            with pytest.raises(asyncio.TimeoutError):
                await session.get(url, timeout=aiohttp.ClientTimeout(total=0.2))
            while events != ["started", "cancelled"]:
                await asyncio.sleep(0.01)

    run(main)


def test_refused_connection(run):
    async def main():
        async with serve() as url:
            pass
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(url)

    run(main)
