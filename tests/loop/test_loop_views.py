"""What code finds that looks into a loop: _ready, _scheduled, _selector."""

import asyncio
import importlib.util
import os
import selectors
import socket
import time

import pytest
import treadle
from support import run_script


def test_the_ready_queue(loop):
    ran = []
    handles = [loop.call_soon(ran.append, n) for n in range(3)]
    assert len(loop._ready) == 3 and loop._ready
    assert list(loop._ready) == handles
    assert loop._ready[0] is handles[0] and loop._ready[-1] is handles[2]
    assert handles[1] in loop._ready
    first = loop._ready.popleft()
    assert first is handles[0]
    loop._ready.append(first)
    loop._ready.remove(handles[1])
    with pytest.raises(ValueError):
        loop._ready.remove(handles[1])
    loop._ready.appendleft(handles[1])
    loop._ready.extend([loop.call_later(60, ran.append, 3)])
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1, 2, 0, 3]
    assert len(loop._ready) == 0 and not loop._ready and list(loop._ready) == []
    with pytest.raises(IndexError, match="pop from an empty deque"):
        loop._ready.popleft()
    loop.call_soon(ran.append, 4)
    loop._ready.clear()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1, 2, 0, 3]


def test_steps_of_tasks_in_the_ready_queue(loop):
    """asyncio's own calls have no handle on treadle's loop; who looks gets one."""

    async def main():
        tasks = [loop.create_task(asyncio.sleep(0)) for _ in range(3)]
        assert len(loop._ready) == 3
        owners = [handle._callback.__self__ for handle in loop._ready]
        assert owners == tasks
        assert all(isinstance(handle, asyncio.Handle) and not handle.cancelled() for handle in loop._ready)
        await asyncio.gather(*tasks)

    loop.run_until_complete(main())


def test_the_ready_queue_changes_while_it_is_looked_at(loop):
    for n in range(3):
        loop.call_soon(int)
    seen = []
    for handle in list(loop._ready):
        loop.call_soon(int)
        seen.append(handle)
    assert len(seen) == 3 and len(loop._ready) == 6
    loop._ready.clear()


def test_the_timers(loop):
    handles = [loop.call_later(seconds, int) for seconds in (60, 20, 40)]
    assert len(loop._scheduled) == 3 and loop._scheduled
    assert sorted(loop._scheduled) == [handles[1], handles[2], handles[0]]
    assert loop._scheduled[0] is handles[1]
    assert loop._scheduled[0]._when == handles[1].when() and handles[1]._scheduled
    loop._scheduled.clear()
    assert len(loop._scheduled) == 0 and not loop._scheduled


def test_cancelled_timers_are_not_shown():
    loop = treadle.new_event_loop()
    handles = [loop.call_later(60, int) for _ in range(3)]
    handles[1].cancel()
    assert list(loop._scheduled) == [handles[0], handles[2]] and len(loop._scheduled) == 2
    loop.close()


def test_the_selector(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert isinstance(loop._selector, selectors.BaseSelector)
        loop.add_reader(ours, int, 1)
        key = loop._selector.get_map()[ours.fileno()]
        assert key is not None and key.fd == ours.fileno() and key.events == selectors.EVENT_READ
        assert key.data[0]._callback is int and key.data[1] is None
        loop.add_writer(ours, int)
        assert loop._selector.get_key(ours.fileno()).events == selectors.EVENT_READ | selectors.EVENT_WRITE
        loop.remove_writer(ours)
        loop.remove_reader(ours)
        assert ours.fileno() not in loop._selector.get_map()
        with pytest.raises(KeyError):
            loop._selector.get_key(ours.fileno())


def turn_in_python(loop):
    """What other code's _run_once() does with what it finds."""
    ready, scheduled = loop._ready, loop._scheduled
    timeout = 0 if ready or loop._stopping else None
    if timeout is None and scheduled:
        timeout = max(scheduled[0]._when - loop.time(), 0)
    loop._process_events(loop._selector.select(timeout))
    end = loop.time() + loop._clock_resolution
    while scheduled and scheduled[0]._when < end:
        import heapq

        ready.append(heapq.heappop(scheduled))
    for _ in range(len(ready)):
        ready.popleft()._run()


def test_turns_made_in_python(loop):
    """Timers, readers, posts of other threads and tasks all have their turn."""
    ran = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.add_reader(ours, lambda: ran.append(ours.recv(1)))
        for n in range(50):
            loop.call_later(0.0002 * n, ran.append, n)
        theirs.send(b"x")
        loop.call_soon_threadsafe(ran.append, "posted")
        while len(ran) < 52:
            turn_in_python(loop)
        loop.remove_reader(ours)
    assert [entry for entry in ran if isinstance(entry, int)] == list(range(50))
    assert b"x" in ran and "posted" in ran


def test_select_waits_no_longer_than_it_is_told(loop):
    start = time.monotonic()
    loop._selector.select(0.05)
    loop._selector.select(0)
    loop._selector.select(-1)
    assert 0.05 <= time.monotonic() - start < 30
    with pytest.raises(TypeError):
        loop._selector.select("1")


NESTED = """
    import asyncio, sys, warnings
    warnings.simplefilter("ignore")
    sys.path.append({directory!r})
    import nest_asyncio, treadle
    {prepare}
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    nest_asyncio.apply(loop)
    print(type(loop).__module__, flush=True)
    async def inner(n):
        await asyncio.sleep(0.01)
        return n
    def blocking(n):
        return loop.run_until_complete(inner(n)) + asyncio.get_event_loop().run_until_complete(asyncio.to_thread(abs, -n))
    async def outer():
        return blocking(1) + await inner(2) + sum(await asyncio.gather(inner(3), inner(4)))
    print(loop.run_until_complete(outer()), loop.run_until_complete(outer()))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
"""


def nested(prepare):
    directory = os.path.dirname(nest_asyncio.origin)
    out, err = run_script(NESTED.format(prepare=prepare, directory=directory), status=None)
    return out.split(), err


nest_asyncio = importlib.util.find_spec("nest_asyncio")


@pytest.mark.skipif(nest_asyncio is None, reason="needs the package nest_asyncio")
def test_nest_asyncio():
    expected, err = nested("")
    if len(expected) != 3:
        pytest.skip(f"nest_asyncio does not work with asyncio's own loop on this version: {err.splitlines()[-1]}")
    out, err = nested("treadle.install()")
    assert out == ["treadle._loop", *expected[1:]], err
