"""Every test here runs on asyncio's own loop as well: both must pass the same body."""

import asyncio

import pytest
import treadle


@pytest.fixture(params=["stock", "treadle"])
def factory(request):
    return {"stock": asyncio.SelectorEventLoop, "treadle": treadle.new_event_loop}[request.param]


@pytest.fixture
def loop(factory):
    loop = factory()
    yield loop
    loop.close()
