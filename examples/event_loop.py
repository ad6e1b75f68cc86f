"""An asyncio program on treadle's event loop: a server, clients, and work on threads.

Shows: treadle.run(), protocols and streams on it, asyncio.to_thread(), and loop.stats(). But for the
counters and the last line nothing in here knows about treadle: with asyncio.run() it is the same program.
"""

import asyncio
import zlib

import treadle

CLIENTS = 50
MESSAGES = 20


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def client(host, port, number):
    """Send messages, check the answers, compress the last one on a thread."""
    reader, writer = await asyncio.open_connection(host, port)
    for i in range(MESSAGES):
        message = f"message {i} of client {number}\n".encode() * 10
        writer.write(message)
        answer = await reader.readexactly(len(message))
        assert answer == message
    writer.close()
    await writer.wait_closed()
    return len(await asyncio.to_thread(zlib.compress, answer))


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(client(host, port, number)) for number in range(CLIENTS)]
    server.close()
    await server.wait_closed()
    print(f"{CLIENTS} clients had {CLIENTS * MESSAGES} answers; {sum(task.result() for task in tasks)} bytes compressed")
    if isinstance(loop, treadle.EventLoop):
        stats = loop.stats()
        print(f"the loop made {stats['turns']} turns for {stats['events']} events and {stats['callbacks']} callbacks")


treadle.run(main())
