"""Waiting for sockets: giving up, several who wait, descriptors that come and go."""

import asyncio
import gc
import socket
import warnings
import weakref

import pytest
from support.sockets import new_pair, run, serve_a_read, turns


# ---- several -----------------------------------------------------------------------


def test_readers_of_one_socket_take_turns(native, pair):
    ours, theirs = pair
    loop = native

    async def main():
        tasks = [asyncio.create_task(loop.sock_recv(ours, 1)) for _ in range(3)]
        await turns()
        tasks[1].cancel()
        await turns()
        theirs.send(b"ab")
        assert sorted([await tasks[0], await tasks[2]]) == [b"a", b"b"]
        assert tasks[1].cancelled()

    run(loop, main())


def test_tasks_that_accept_on_one_socket(native):
    loop = native

    async def main(listener):
        tasks = [asyncio.create_task(loop.sock_accept(listener)) for _ in range(5)]
        await turns()
        clients = [socket.create_connection(listener.getsockname()) for _ in tasks]
        for conn, _ in await asyncio.gather(*tasks):
            conn.close()
        for client in clients:
            client.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        run(loop, main(listener))


# ---- giving up ---------------------------------------------------------------------


def test_cancelling_leaves_nothing_and_loses_nothing(loop, pair):
    ours, theirs = pair

    async def main():
        for operation in (loop.sock_recv(ours, 10), loop.sock_recv_into(ours, bytearray(10))):
            task = asyncio.create_task(operation)
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns()
            assert ours.fileno() not in loop._selector.get_map()
        theirs.send(b"kept")
        assert await loop.sock_recv(ours, 10) == b"kept"

    run(loop, main())


def test_event_and_cancellation_in_one_turn(native, pair):
    """The task is woken, and cancelled before it has read."""
    ours, theirs = pair
    loop = native

    async def main():
        task = asyncio.create_task(loop.sock_recv(ours, 10))
        await turns()
        theirs.send(b"kept")
        task._fut_waiter.set_result(None)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await loop.sock_recv(ours, 10) == b"kept"

    run(loop, main())


def test_cancelling_sendall(loop, pair):
    ours, theirs = pair

    async def main():
        task = asyncio.create_task(loop.sock_sendall(ours, bytearray(10_000_000)))
        await turns()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns()
        assert ours.fileno() not in loop._selector.get_map()
        ours.shutdown(socket.SHUT_WR)
        got = 0
        while data := await loop.sock_recv(theirs, 1 << 20):
            got += len(data)
        assert 0 < got < 10_000_000

    run(loop, main())


def test_giving_up_often_keeps_nothing(loop, pair):
    ours, theirs = pair

    async def main():
        gone = []
        for _ in range(100):
            task = asyncio.create_task(loop.sock_recv(ours, 10))
            await turns(2)
            gone.append(weakref.ref(task._fut_waiter))
            task.cancel()
            await asyncio.wait([task])
        del task
        await turns()
        gc.collect()
        assert sum(ref() is not None for ref in gone) <= 1

    run(loop, main())


def test_waiting_keeps_the_buffer(loop, pair):
    ours, _ = pair

    async def main():
        data = bytearray(10_000_000)
        task = asyncio.create_task(loop.sock_sendall(ours, data))
        await turns()
        with pytest.raises(BufferError):
            data.append(0)
        task.cancel()
        await asyncio.wait([task])
        del task
        gc.collect()
        data.append(0)

    run(loop, main())


# ---- descriptors that come and go --------------------------------------------------



def test_number_is_used_again(loop):
    async def main():
        for kind in ("UNIX", "TCP") * 3:
            ours, theirs = new_pair(kind)
            with ours, theirs:
                await serve_a_read(loop, ours, theirs)
                await serve_a_read(loop, ours, theirs)

    run(loop, main())


def test_number_is_used_again_while_the_socket_lives_on_elsewhere(loop):
    async def main():
        ours, theirs = new_pair("UNIX")
        await serve_a_read(loop, ours, theirs)
        twin, number = ours.dup(), ours.fileno()
        ours.close()
        others = new_pair("UNIX")
        assert number in (end.fileno() for end in others)
        others = others if others[0].fileno() == number else others[::-1]
        await serve_a_read(loop, *others)
        theirs.send(b"y")
        await asyncio.sleep(0.01)
        task = asyncio.create_task(loop.sock_recv(others[0], 10))
        await asyncio.sleep(0.01)
        assert not task.done()
        theirs.send(b"z")
        await asyncio.sleep(0.01)
        assert not task.done()
        others[1].send(b"!")
        assert await task == b"!"
        assert twin.recv(10) == b"yz"
        for end in (theirs, twin, *others):
            end.close()

    run(loop, main())


def test_an_event_for_nobody_does_not_keep_the_loop_busy(native):
    loop = native

    async def main():
        ours, theirs = new_pair("UNIX")
        await serve_a_read(loop, ours, theirs)
        twin = ours.dup()
        ours.close()
        theirs.send(b"y")
        await asyncio.sleep(0.01)
        before = loop.stats()["polls"]
        await asyncio.sleep(0.05)
        assert loop.stats()["polls"] - before < 20
        theirs.close()
        twin.close()

    run(loop, main())


def test_detached_number_in_a_new_object(loop, pair):
    ours, theirs = pair

    async def main():
        await serve_a_read(loop, ours, theirs)
        again = socket.socket(fileno=ours.detach())
        again.setblocking(False)
        await serve_a_read(loop, again, theirs)
        reader, writer = await asyncio.open_connection(sock=again)
        theirs.send(b"stream\n")
        assert await reader.readline() == b"stream\n"
        writer.close()
        await writer.wait_closed()

    run(loop, main())


def test_socket_becomes_a_transport(loop, pair):
    ours, theirs = pair

    async def main():
        await serve_a_read(loop, ours, theirs)
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.send(b"stream\n")
        assert await reader.readline() == b"stream\n"
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(writer.get_extra_info("socket")._sock, 10)
        writer.close()
        await writer.wait_closed()

    run(loop, main())


def test_beside_add_reader(loop, pair):
    ours, theirs = pair
    data = bytes(20_000_000)

    async def main():
        calls = []
        sending = asyncio.create_task(loop.sock_sendall(ours, data))
        await turns()
        loop.add_reader(ours, lambda: calls.append(ours.recv(100)))
        assert loop._selector.get_map()[ours.fileno()].events & 1
        theirs.send(b"1")
        await asyncio.sleep(0.01)
        theirs.send(b"2")
        await asyncio.sleep(0.01)
        assert calls == [b"1", b"2"] and not sending.done()
        got = 0
        while got < len(data):
            got += len(await loop.sock_recv(theirs, 1 << 20))
        await sending
        assert loop.remove_reader(ours)
        await serve_a_read(loop, ours, theirs)

    run(loop, main())


def test_closed_socket_can_die(loop):
    async def main():
        ours, theirs = new_pair("UNIX")
        await serve_a_read(loop, ours, theirs)
        gone = weakref.ref(ours)
        theirs.close()
        ours.close()
        del ours
        await turns()
        gc.collect()
        assert gone() is None

    run(loop, main())


def test_closing_the_loop_under_a_reader(loop, pair):
    ours, _ = pair

    async def main():
        task = asyncio.create_task(loop.sock_recv(ours, 10))
        await turns()
        return task

    task = run(loop, main())
    loop.close()
    assert not task.done()
    task._log_destroy_pending = False
    with pytest.raises(RuntimeError, match="loop is closed"):
        loop.sock_recv(ours, 10).send(None)
    ours.send(b"x")


def test_nothing_is_left_behind(loop):
    async def main():
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with ours, theirs:
                await serve_a_read(loop, ours, theirs)
        gc.collect()

    run(loop, main())
    assert set(loop._selector.get_map()) <= {loop._ssock.fileno()}
