"""Both ends of a connection, as get_extra_info() tells them."""

import os
import socket
import sys

import pytest
from support.streams import Recorder, settle


def test_extra_info_of_accepted_connections(loop, tmp_path):
    path = str(tmp_path / "socket")

    async def connect(made, kind):
        if kind == "unix":
            await loop.create_unix_server(lambda: made, path)
            return await loop.create_unix_connection(Recorder, path)
        host = "127.0.0.1" if kind == "inet" else "::1"
        server = await loop.create_server(lambda: made, host, 0)
        return await loop.create_connection(Recorder, *server.sockets[0].getsockname()[:2])

    for kind in ("inet", "inet6", "unix"):
        made = Recorder()
        client, _ = loop.run_until_complete(connect(made, kind))
        while made.transport is None:
            settle(loop)
        server = made.transport
        assert client.get_extra_info("sockname") == server.get_extra_info("peername")
        assert client.get_extra_info("peername") == server.get_extra_info("sockname")
        for transport in (client, server):
            sock = transport.get_extra_info("socket")
            assert sock.getsockname() == transport.get_extra_info("sockname")
            assert sock.getpeername() == transport.get_extra_info("peername")
            assert sock.type == socket.SOCK_STREAM
            assert sock.gettimeout() == 0.0
            assert not os.get_inheritable(sock.fileno())
            transport.abort()
        settle(loop)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_abstract_unix_names(loop):
    name = b"\0treadle-test-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        client, _ = loop.run_until_complete(
            loop.create_unix_connection(Recorder, name.decode())
        )
        assert client.get_extra_info("peername") == name
        assert client.get_extra_info("sockname") == ""
        client.abort()
        settle(loop)


def test_unconnected_socket_has_no_peer(loop):
    with socket.socket() as sock:
        transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=sock))
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("sockname") == ("0.0.0.0", 0)
        transport.abort()
        settle(loop)
