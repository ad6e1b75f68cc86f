"""Section: fetch pages that are slow to come, from a server in a child process."""

from __future__ import annotations

import hashlib
import http.client
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from treadle._demo import child, pools, server
from treadle._demo.section import DemoError, Section, Settings, Side


def make(settings: Settings) -> Section:
    """The section for these settings: one thread a page unless told otherwise."""
    workers = settings.workers or settings.pages
    return Section(
        key="pages",
        title=f"fetch {settings.pages} pages, {settings.delay:g} s each",
        workers=workers,
        steps=settings.pages,
        open=lambda: _opened(settings, workers),
    )


def fetch(port: int, patience: float, number: int) -> str:
    """Fetch one page; returns the digest of what came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        connection.request("GET", f"/{number}")
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise DemoError(f"page {number} came with status {response.status}")
    return hashlib.sha256(body).hexdigest()


@contextmanager
def running_server(delay: float) -> Iterator[int]:
    """Start the server as a child process and yield its port; it is stopped in every case."""
    command = [sys.executable, "-I", str(server.__file__), repr(delay)]
    with child.running(command, "the page server") as serving:
        yield int(serving.line)


@contextmanager
def _opened(settings: Settings, workers: int) -> Iterator[Sequence[Side]]:
    with running_server(settings.delay) as port:
        job = partial(fetch, port, settings.delay + child.START_SECONDS)
        # The first round's time is the sum of the delays: it needs no second opinion.
        yield pools.sides(job, range(settings.pages), workers, alone_once=True)
