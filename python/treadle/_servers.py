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


class ServerLoop(asyncio.SelectorEventLoop):
    """The part of a loop that makes servers."""

    @functools.wraps(asyncio.SelectorEventLoop.create_server)
    async def create_server(self, *args: Any, start_serving: bool = True, **options: Any) -> Any:
        server = await super().create_server(*args, start_serving=False, **options)
        return await _serve(server) if start_serving else server

    @functools.wraps(asyncio.SelectorEventLoop.create_unix_server)
    async def create_unix_server(
        self, *args: Any, start_serving: bool = True, **options: Any
    ) -> Any:
        server = await super().create_unix_server(*args, start_serving=False, **options)
        return await _serve(server) if start_serving else server
