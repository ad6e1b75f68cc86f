"""Section: an echo server under load; the load comes from a child process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from treadle._demo import child, load, loops
from treadle._demo.section import DemoError, Section, Settings, Side, Tick

CONNECTIONS = 10
SIZE = 1024


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to send it."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send it."""
        self.transport.write(data)


class Loader:
    """The child that loads; `latency` has the quantiles of the last time."""

    def __init__(self, serving: child.Child) -> None:
        self._child = serving
        self.latency: Mapping[str, float] = {}

    async def load(self, port: int) -> Sequence[object]:
        """Have the server on `port` loaded; the digests of what the connections got back."""
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        loop.add_reader(self._child.output, self._answered, answered)
        try:
            self._child.input.write(b"%d\n" % port)
            self._child.input.flush()
            line = await answered
        finally:
            loop.remove_reader(self._child.output)
        answer = json.loads(line or '{"error": "the load generator went away"}')
        if "error" in answer:
            raise DemoError(answer["error"])
        self.latency = answer["latency"]
        return cast(Sequence[object], answer["digests"])

    def _answered(self, answered: asyncio.Future[bytes]) -> None:
        if not answered.done():
            answered.set_result(self._child.output.readline())


def make(settings: Settings) -> Section:
    """The section for these settings."""
    messages = max(1, settings.messages // CONNECTIONS) * CONNECTIONS
    return Section(
        key="loop-echo",
        title=f"asyncio: echo {messages:,} messages of 1 KiB, {CONNECTIONS} connections",
        workers=1,
        steps=0,
        open=lambda: _opened(messages),
    )


@contextmanager
def _opened(messages: int) -> Iterator[Sequence[Side]]:
    numbers = map(str, (CONNECTIONS, SIZE, messages))
    command = [sys.executable, "-I", str(load.__file__), *numbers]
    with child.running(command, "the load generator") as serving:
        loader = Loader(serving)

        async def job(tick: Tick) -> Sequence[object]:
            loop = asyncio.get_running_loop()
            server = await loop.create_server(Echo, load.HOST, 0)
            async with server:
                return await loader.load(server.sockets[0].getsockname()[1])

        yield loops.sides(job, lambda: loader.latency)
