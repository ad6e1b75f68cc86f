"""Load for an echo server, from a child process of its own.

``load.py CONNECTIONS SIZE MESSAGES`` says that it is ready.  Then, for every line with a port, it
connects to it, sends that many messages over these connections, each connection waiting for its
echo before the next, and answers with one line of JSON: the digest of what came on each
connection, and quantiles of how long the echoes took, in seconds.  It goes when its input ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import sys
import time

HOST = "127.0.0.1"
PATIENCE = 20.0
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class Connection:
    """One connection: at most one message is under way."""

    def __init__(self, port: int, number: int, size: int, messages: int) -> None:
        self.socket = socket.create_connection((HOST, port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.message = (b"%d " % number * size)[:size]
        self.left = messages
        self.missing = 0
        self.digest = hashlib.sha256()
        self.started = 0.0

    def send(self) -> None:
        """Send the next message."""
        self.left -= 1
        self.missing = len(self.message)
        self.started = time.perf_counter()
        self.socket.sendall(self.message)

    def receive(self) -> float | None:
        """Take what has come; the time the echo took if that was all of it."""
        data = self.socket.recv(self.missing)
        if not data:
            raise ConnectionError("the echo server closed a connection")
        self.digest.update(data)
        self.missing -= len(data)
        return None if self.missing else time.perf_counter() - self.started


def run(port: int, connections: int, size: int, messages: int) -> dict[str, object]:
    """Load the server on `port` once."""
    share = messages // connections
    opened = [Connection(port, number, size, share) for number in range(connections)]
    took: list[float] = []
    poller = select.poll()
    waiting = {connection.socket.fileno(): connection for connection in opened}
    for descriptor, connection in waiting.items():
        poller.register(descriptor, select.POLLIN)
        connection.send()
    while waiting:
        for descriptor, _ in _ready(poller):
            connection = waiting[descriptor]
            seconds = connection.receive()
            if seconds is None:
                continue
            took.append(seconds)
            if connection.left:
                connection.send()
            else:
                poller.unregister(descriptor)
                del waiting[descriptor]
    for connection in opened:
        connection.socket.close()
    return {"digests": [one.digest.hexdigest() for one in opened], "latency": _quantiles(took)}


def _ready(poller: select.poll) -> list[tuple[int, int]]:
    ready = poller.poll(PATIENCE * 1e3)
    if not ready:
        raise TimeoutError("the echo server does not answer")
    return ready


def _quantiles(took: list[float]) -> dict[str, float]:
    took.sort()
    return {name: took[int(share * (len(took) - 1))] for name, share in QUANTILES.items()}


def main(connections: int, size: int, messages: int) -> None:
    """Load a server for every port on standard input."""
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            answer = run(int(line), connections, size, messages)
        except OSError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:]))
    except KeyboardInterrupt:
        os._exit(0)
