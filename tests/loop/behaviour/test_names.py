"""getaddrinfo() and getnameinfo() answer as the functions of `socket` do, errors included."""

import asyncio
import os
import socket

import pytest


def outcome(function, *arguments):
    try:
        return sorted(function(*arguments)) if function is socket.getaddrinfo else function(*arguments)
    except Exception as error:
        return type(error), error.args


async def outcome_of(awaitable, order):
    try:
        answer = await awaitable
    except Exception as error:
        return type(error), error.args
    return sorted(answer) if order else answer


# Nothing that would be asked of a name server, whose answers take their time and may change.
HOSTS = [None, "", b"", "localhost", b"localhost", "127.0.0.1", b"127.0.0.1", "::1", "::1%lo", "0.0.0.0", "<broadcast>"]
HOSTS += ["::", "127.1", "0x7f.1", "2130706433", "::ffff:1.2.3.4", "1.2.3.4", "255.255.255.255", 5, ("127.0.0.1",)]
PORTS = [None, 0, 80, "80", b"80", "http", b"http", "", "no such service", -1, 70000, 80.5]


@pytest.mark.parametrize("host", HOSTS)
def test_every_port(run, loop, host):
    async def main():
        for port in PORTS:
            expected = outcome(socket.getaddrinfo, host, port)
            assert await outcome_of(loop.getaddrinfo(host, port), True) == expected, (host, port)
        await loop.shutdown_default_executor()

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", None])
@pytest.mark.parametrize("family", [0, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_every_kind(run, loop, host, family):
    async def main():
        for kind in (0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 77):
            for protocol in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 99):
                for flags in (0, socket.AI_PASSIVE, socket.AI_NUMERICHOST, socket.AI_CANONNAME | socket.AI_V4MAPPED):
                    if host and family == socket.AF_INET6 and flags & socket.AI_CANONNAME:
                        continue  # the name of a mapped address is looked up
                    asked = (host, 80, family, kind, protocol, flags)
                    expected = outcome(socket.getaddrinfo, *asked)
                    names = dict(zip(("family", "type", "proto", "flags"), asked[2:]))
                    assert await outcome_of(loop.getaddrinfo(host, 80, **names), True) == expected, asked
        await loop.shutdown_default_executor()

    run(main)


@pytest.mark.parametrize(
    "address",
    [("127.0.0.1", 80), ("127.0.0.1", 65000), ("::1", 80), ("::1", 80, 0, 0), ("127.0.0.1", "http"), ("127.0.0.1",), ()],
)
def test_names_of_addresses(run, loop, address):
    async def main():
        # only this address has a name that needs no name server
        hosts = (0, socket.NI_NUMERICHOST) if address[:1] == ("127.0.0.1",) else (socket.NI_NUMERICHOST,)
        for host in hosts:
            for flags in (0, socket.NI_NUMERICSERV, socket.NI_DGRAM):
                expected = outcome(socket.getnameinfo, address, host | flags)
                assert await outcome_of(loop.getnameinfo(address, host | flags), False) == expected
        await loop.shutdown_default_executor()

    run(main)


def test_loop_closed_meanwhile(factory):
    """The answer of a look-up that nobody waits for any more does no harm."""
    loop = factory()

    async def main():
        task = asyncio.create_task(loop.getaddrinfo("localhost", None))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(main())
    loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes")
def test_process_pool_as_executor(run, loop):
    """The executor may be one of processes."""
    import concurrent.futures
    import multiprocessing

    async def main():
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            calls = [loop.run_in_executor(pool, pow, number, 2) for number in range(20)]
            assert await asyncio.gather(*calls) == [number**2 for number in range(20)]

    run(main)
