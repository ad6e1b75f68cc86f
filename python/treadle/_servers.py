"""create_server() and create_unix_server() leave no server behind when they are cancelled.

asyncio's start to listen and then let the loop turn once. Cancelled in that turn,
they would leave a server that accepts connections and that nobody can close.
"""

import asyncio
import functools
from typing import Any


async def _serve(server: Any) -> Any:
    """Start serving; close the server if that is cancelled."""
    try:
        server._start_serving()
        await asyncio.sleep(0)
    except BaseException:
        server.close()
        raise
    return server


async def _create_server(
    self: Any, *args: Any, start_serving: bool = True, **options: Any
) -> Any:
    create = super(ServerLoop, self).create_server
    server = await create(*args, start_serving=False, **options)
    return await _serve(server) if start_serving else server


async def _create_unix_server(
    self: Any, *args: Any, start_serving: bool = True, **options: Any
) -> Any:
    create = super(ServerLoop, self).create_unix_server
    server = await create(*args, start_serving=False, **options)
    return await _serve(server) if start_serving else server


class ServerLoop(asyncio.SelectorEventLoop):
    """The part of a loop that makes servers."""

    create_server: Any = functools.wraps(asyncio.SelectorEventLoop.create_server)(_create_server)
    create_unix_server: Any = functools.wraps(asyncio.SelectorEventLoop.create_unix_server)(
        _create_unix_server
    )
