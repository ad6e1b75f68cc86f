"""Section: the slow pages again, this time all at once by asyncio on one thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from treadle._demo import child, loops, pages
from treadle._demo.section import DemoError, Section, Settings, Side, Tick


def make(settings: Settings) -> Section:
    """The section for these settings."""
    return Section(
        key="loop-pages",
        title=f"asyncio: fetch {settings.pages} pages, {settings.delay:g} s each",
        workers=1,
        steps=settings.pages,
        open=lambda: _opened(settings),
    )


async def fetch(port: int, number: int) -> str:
    """Fetch one page; returns the digest of what came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % number)
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split()[1:2] != [b"200"]:
        raise DemoError(f"page {number} came with {head[:40]!r}")
    return hashlib.sha256(body).hexdigest()


@contextmanager
def _opened(settings: Settings) -> Iterator[Sequence[Side]]:
    with pages.running_server(settings.delay) as port:

        async def one(number: int, tick: Tick) -> str:
            digest = await fetch(port, number)
            tick()
            return digest

        async def job(tick: Tick) -> Sequence[object]:
            async with asyncio.timeout(settings.delay + child.START_SECONDS):
                return await asyncio.gather(*(one(n, tick) for n in range(settings.pages)))

        yield loops.sides(job)
