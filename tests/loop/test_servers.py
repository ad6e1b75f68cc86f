"""create_server() and create_unix_server() take what asyncio's take."""

import asyncio
import inspect

import pytest
import treadle


@pytest.mark.parametrize("name", ["create_server", "create_unix_server"])
def test_signature(name):
    ours, theirs = getattr(treadle.EventLoop, name), getattr(asyncio.SelectorEventLoop, name)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert inspect.iscoroutinefunction(ours)


@pytest.mark.parametrize("start", [True, False])
def test_start_serving(loop, start):
    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0, start_serving=start))
    assert server.is_serving() is start
    server.close()


@pytest.mark.parametrize("start", [True, False])
def test_start_serving_unix(loop, start, tmp_path):
    path = str(tmp_path / "sock")
    server = loop.run_until_complete(loop.create_unix_server(asyncio.Protocol, path, start_serving=start))
    assert server.is_serving() is start
    server.close()


def test_given_by_position(loop):
    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    assert server.sockets[0].getsockname()[0] == "127.0.0.1"
    server.close()
    with pytest.raises(TypeError):
        loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0, 2))
