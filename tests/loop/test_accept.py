"""Servers: how connections become transports, and what goes wrong on the way."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import resource
import socket
import sys
import time
import weakref

import pytest
import treadle
from support.streams import Recorder, run_until, settle


@pytest.fixture
def errors(loop):
    errors = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    return errors


class Service:
    """A server on `loop` and the protocols that it has made."""

    def __init__(self, loop, make=Recorder, **options):
        self.loop = loop
        self.made = []

        def factory():
            protocol = make()
            self.made.append(protocol)
            return protocol

        self.server = loop.run_until_complete(
            loop.create_server(factory, "127.0.0.1", 0, **options)
        )
        self.address = self.server.sockets[0].getsockname()
        self.clients = []

    def connect(self):
        self.clients.append(socket.create_connection(self.address, timeout=60))
        return self.clients[-1]

    @property
    def connected(self):
        return [protocol for protocol in self.made if "made" in protocol.names]

    def close(self):
        self.server.close()
        for protocol in self.connected:
            protocol.transport.abort()
        for client in self.clients:
            client.close()
        settle(self.loop)


@pytest.fixture
def serve(loop):
    services = []

    def serve(*args, **options):
        services.append(Service(loop, *args, **options))
        return services[-1]

    yield serve
    for service in services:
        service.close()


def test_many_at_once(loop, serve):
    service = serve()
    for _ in range(50):
        service.connect()
    run_until(loop, lambda: len(service.connected) == 50)
    names = {protocol.transport.get_extra_info("peername") for protocol in service.made}
    assert names == {client.getsockname() for client in service.clients}
    service.clients[7].sendall(b"seven")
    run_until(loop, lambda: any(p.received == b"seven" for p in service.made))


def test_more_than_the_backlog(loop, serve):
    service = serve(backlog=1)
    for _ in range(20):
        service.connect()
        settle(loop)
    run_until(loop, lambda: len(service.connected) == 20)


def test_unix(loop, tmp_path):
    path = str(tmp_path / "socket")
    made = Recorder()
    server = loop.run_until_complete(loop.create_unix_server(lambda: made, path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"x")
        run_until(loop, lambda: made.received == b"x")
        assert made.transport.get_extra_info("sockname") == path
        assert made.transport.get_extra_info("peername") == ""
    server.close()
    run_until(loop, lambda: "lost" in made.names)


def test_descriptors_are_not_inherited_and_do_not_block(loop, serve):
    service = serve()
    service.connect()
    run_until(loop, lambda: service.connected)
    fd = service.made[0].transport._sock_fd
    assert not os.get_inheritable(fd)
    assert not os.get_blocking(fd)
    sock = service.made[0].transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_context_of_connections(loop):
    var = contextvars.ContextVar("var", default=0)
    seen = []

    class Protocol(Recorder):
        def __init__(self):
            super().__init__()
            seen.append(var.get())
            var.set(var.get() + 1)

        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(var.get())
            transport.abort()

    async def main():
        var.set(10)
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        var.set(20)
        for _ in range(2):
            with socket.create_connection(server.sockets[0].getsockname()):
                count = len(seen) + 2
                while len(seen) < count:
                    await asyncio.sleep(0.001)
        server.close()
        assert var.get() == 20

    loop.run_until_complete(main())
    # asyncio makes the transport in a task: what the factory sets is seen from there on
    assert seen == [10, 11, 10, 11]


@pytest.mark.parametrize("debug", [False, True])
def test_factory_that_raises(loop, serve, errors, debug):
    loop.set_debug(debug)

    def fail():
        raise ValueError("factory")

    service = serve(fail)
    client = service.connect()
    settle(loop, 20)
    told = [(error["message"], str(error["exception"])) for error in errors]
    message = "Error on transport creation for incoming connection"
    assert told == ([(message, "factory")] if debug else [])
    errors.clear()
    gc.collect()  # asyncio leaves it to the collector
    assert client.recv(1) == b""


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_out_of_the_factory(loop, serve, kind):
    def leave():
        raise kind

    service = serve(leave)
    service.connect()
    with pytest.raises(kind):
        loop.run_forever()


def test_factory_that_makes_no_protocol(loop, serve, errors):
    loop.set_debug(True)
    service = serve(lambda: Recorder)  # a class: connection_made() fails
    del service.made[:]
    client = service.connect()
    settle(loop, 20)
    assert len(errors) >= 1
    assert all(isinstance(error["exception"], (TypeError, AttributeError)) for error in errors)
    client.close()
    service.made.clear()


def test_factory_that_closes_the_server(loop, serve):
    def make():
        service.server.close()
        return Recorder()

    service = serve(make)
    service.connect()
    run_until(loop, lambda: service.made)
    settle(loop, 20)
    with pytest.raises(ConnectionRefusedError):
        service.connect()


def test_closed_server_refuses(loop, serve):
    service = serve()
    service.server.close()
    with pytest.raises(ConnectionRefusedError):
        service.connect()
    assert not service.server.is_serving()


def test_start_serving_late(loop, serve):
    service = serve(start_serving=False)
    assert not service.server.is_serving()
    loop.run_until_complete(service.server.start_serving())
    loop.run_until_complete(service.server.start_serving())
    service.connect()
    run_until(loop, lambda: service.connected)


def test_serving_keeps_no_transport_alive(loop, serve):
    service = serve()
    service.connect()
    run_until(loop, lambda: service.connected)
    ref = weakref.ref(service.made.pop().transport)
    service.clients[0].close()

    def gone():
        gc.collect()  # asyncio's transport may be in a cycle
        return ref() is None

    run_until(loop, gone)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
@pytest.mark.parametrize("end", ["close_clients", "abort_clients"])
def test_clients_are_known(loop, serve, end):
    service = serve()
    for _ in range(3):
        service.connect()
    run_until(loop, lambda: len(service.connected) == 3)
    service.server.close()
    getattr(service.server, end)()
    loop.run_until_complete(asyncio.wait_for(service.server.wait_closed(), 10))
    assert all(protocol.names[-1] == "lost" for protocol in service.made)


def test_debug_mode_logs_connections(loop, serve, caplog):
    loop.set_debug(True)
    service = serve()
    with caplog.at_level(logging.DEBUG, "asyncio"):
        client = service.connect()
        run_until(loop, lambda: service.connected)
    text = next(r.getMessage() for r in caplog.records if "got a new connection" in r.getMessage())
    assert repr(client.getsockname()) in text
    assert "<Server sockets=" in text


@contextlib.contextmanager
def no_descriptors():
    """No new descriptor can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        first = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, first)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first + 1, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        yield


def test_out_of_descriptors(loop, serve, errors, monkeypatch):
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.2)
    service = serve()
    service.connect()
    turns = 0

    async def wait():
        nonlocal turns
        while not errors:
            await asyncio.sleep(0)
        began = time.process_time()
        await asyncio.sleep(0.1)
        turns = time.process_time() - began

    with no_descriptors():
        loop.run_until_complete(wait())
    # asyncio's loop says it once for every place in the backlog
    assert {error["message"] for error in errors} == {"socket.accept() out of system resource"}
    assert len(errors) == 1 or not isinstance(loop, treadle.EventLoop)
    assert errors[0]["exception"].errno in (23, 24)
    assert errors[0]["socket"].fileno() == service.server.sockets[0].fileno()
    assert turns < 0.08  # it did not spin
    assert service.made == []
    run_until(loop, lambda: service.connected)


def test_out_of_descriptors_then_closed(loop, serve, errors, monkeypatch):
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.02)
    service = serve()
    service.connect()

    def handler(_, context):
        errors.append(context)
        service.server.close()

    loop.set_exception_handler(handler)
    with no_descriptors():
        run_until(loop, lambda: errors)
    del errors[1:]
    assert errors[0]["message"] == "socket.accept() out of system resource"
    assert service.made == []


def test_listener_of_another_kind(loop):
    class Mine(socket.socket):
        pass

    made = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = loop.run_until_complete(
            loop.create_server(lambda: made, sock=Mine(fileno=listener.detach()))
        )
    with socket.create_connection(server.sockets[0].getsockname()):
        run_until(loop, lambda: "made" in made.names)
    run_until(loop, lambda: "lost" in made.names)
    server.close()


def test_socket_closed_without_the_server(loop):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = loop.run_until_complete(loop.create_server(Recorder, sock=listener))
        number = listener.fileno()
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        if sock.fileno() == number:
            other = Recorder()
            loop.run_until_complete(loop.create_connection(lambda: other, sock=sock))
            other.transport.abort()
            settle(loop)
            break
    else:
        pytest.fail("the number was not used again")
    ours.close()
    theirs.close()
    with pytest.raises(ValueError, match="descriptor"):
        server.close()
