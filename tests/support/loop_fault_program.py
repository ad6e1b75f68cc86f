"""Runs each scenario on new loops while the n-th allocation of the extension's own fails, for n = 1, 2, 3, ...

Started by tests/loop/test_faults.py with a preloaded library that refuses allocations. A scenario may end in MemoryError.
It may not crash or hang, and the loop must turn and close afterwards. Prints the rounds and failures of each as JSON.
"""

import asyncio
import contextlib
import json
import logging
import socket
import sys
import warnings

import treadle
from support.fault_program import MallocFaults
from support.sockets import new_pair
from support.stepping import descriptors

MOST = 200


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def run(loop, coroutine):
    loop.run_until_complete(asyncio.wait_for(coroutine, 20))


def soon(loop):
    for number in range(500):
        loop.call_soon(abs, number)
    turn(loop)


def timers(loop):
    for number in range(500):
        loop.call_later(0, abs, number)
        loop.call_later(100, abs, number).cancel()
    turn(loop)


def threadsafe(loop):
    for number in range(500):
        loop.call_soon_threadsafe(abs, number)
    turn(loop)


def readers(loop):
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            for end in new_pair("UNIX"):
                stack.enter_context(end)
                stack.callback(loop.remove_reader, end)
                stack.callback(loop.remove_writer, end)
                loop.add_reader(end, abs, 1)
                loop.add_writer(end, abs, 1)
        turn(loop)


def sockets(loop):
    ours, theirs = new_pair("UNIX")

    async def talk():
        waiting = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(theirs, b"x")
        assert await waiting == b"x"

    with ours, theirs:
        run(loop, talk())


def streams(loop):
    ours, theirs = new_pair("UNIX")

    async def talk():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        try:
            await loop.sock_sendall(theirs, bytes(1000))
            transport.write(bytes(1 << 20))
            transport.writelines([bytes(1000)] * 3)
            await asyncio.sleep(0.001)
        finally:
            transport.abort()
            await asyncio.sleep(0)

    with ours, theirs:
        try:
            run(loop, talk())
        finally:
            turn(loop)


def servers(loop):
    async def serve():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        try:
            with socket.create_connection(server.sockets[0].getsockname()):
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)
        finally:
            server.close()

    run(loop, serve())


def datagrams(loop):
    async def send():
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        try:
            for _ in range(5):
                transport.sendto(b"x", transport.get_extra_info("sockname"))
            await asyncio.sleep(0.001)
        finally:
            transport.abort()

    run(loop, send())


def new_loop(loop):
    treadle.new_event_loop().close()


SCENARIOS = [soon, timers, threadsafe, readers, sockets, streams, servers, datagrams, new_loop]


def one_round(faults, scenario, number):
    """Whether it failed, and whether it makes fewer allocations than `number`."""
    loop = treadle.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    faults.arm(number)
    try:
        scenario(loop)
        failed = False
    except MemoryError:
        failed = True
    finally:
        reached = faults.disarm()
    for _ in range(4):
        turn(loop)
    assert loop.run_until_complete(asyncio.sleep(0, "works")) == "works"
    loop.close()
    return failed, reached < number


def main():
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # of coroutines that nothing came of
    sys.unraisablehook = lambda unraisable: None
    faults, outcome = MallocFaults(), {}
    for scenario in SCENARIOS:
        one_round(faults, scenario, MOST)  # what is made once in a process is made here
        before, failures = descriptors(), 0
        for number in range(1, MOST):
            failed, through = one_round(faults, scenario, number)
            failures += failed
            if through:
                break
        assert descriptors() == before, scenario
        outcome[scenario.__name__] = {"rounds": number, "failures": failures}
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
