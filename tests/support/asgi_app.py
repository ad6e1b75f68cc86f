"""An ASGI application for servers to serve: says which loop it runs on, echoes, streams."""

import asyncio
import hashlib

PART = bytes(range(256)) * 256
PARTS = 64
DIGEST = hashlib.sha256(PART * PARTS).hexdigest()
state = {"started": False}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await http(scope, receive, send)


async def lifespan(receive, send):
    while True:
        message = await receive()
        state["started"] = message["type"] == "lifespan.startup"
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def websocket(receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message.get("bytes"), "text": message.get("text")})


async def http(scope, receive, send):
    path = scope["path"]
    if path == "/in":
        return await answer(send, [await digest_of(receive)])
    if path == "/out":
        return await answer(send, [PART] * PARTS)
    if path == "/wait":
        await asyncio.sleep(0.05)
    if path == "/loop":
        loop = type(asyncio.get_running_loop())
        return await answer(send, [f"{loop.__module__}.{loop.__qualname__} {state['started']}".encode()])
    return await answer(send, [scope["method"].encode(), b" ", path.encode()])


async def digest_of(receive):
    digest, more = hashlib.sha256(), True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)
    return digest.hexdigest().encode()


async def answer(send, parts):
    size = sum(map(len, parts))
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
