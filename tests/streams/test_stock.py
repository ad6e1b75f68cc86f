"""What is known of asyncio's classes: the subclasses fit, and stand in for all that they replace."""

import asyncio
import inspect

import pytest
import treadle
from support.streaming import Ends, serve


@pytest.fixture(scope="module")
def classes():
    """(ours, asyncio's) of reader and writer."""
    loop = treadle.new_event_loop()
    found = loop.create_future()

    async def main():
        server, port = await serve(lambda *pair: found.set_result(pair))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        ours = await found
        for each in ours[1], writer:
            each.close()
        server.close()
        await asyncio.sleep(0.01)
        return [(type(ours[0]), asyncio.StreamReader), (type(ours[1]), asyncio.StreamWriter)]

    yield loop.run_until_complete(main())
    loop.close()


def test_classes(classes):
    for ours, stock in classes:
        assert issubclass(ours, stock) and ours.__name__ == stock.__name__
        assert ours.__module__ == "treadle" and ours.__doc__ == stock.__doc__


def test_signatures(classes):
    for ours, stock in classes:
        for name in vars(ours):
            theirs = inspect.getattr_static(stock, name, None)
            if not inspect.isfunction(theirs) or name.startswith("_"):
                continue
            assert list(inspect.signature(getattr(ours, name)).parameters) == list(inspect.signature(theirs).parameters)


def test_there_and_back(classes):
    """An instance of ours can be made one of asyncio's class by whoever wants to."""
    loop = treadle.new_event_loop()
    ends = Ends(loop)
    ends.reader.__class__ = asyncio.StreamReader
    assert type(ends.reader) is asyncio.StreamReader
    ends.reader.__class__ = classes[0][0]
    ends.send(b"abc")
    assert ends.run(ends.reader.read(5)) == b"abc"
    ends.close()
    loop.close()
