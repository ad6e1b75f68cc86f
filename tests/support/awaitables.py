"""What tests of tasks' functions await."""

import asyncio


async def value(of, turns=0):
    """`of`, after some turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return of


async def fails(error, turns=0):
    await value(None, turns)
    raise error


class Foreign:
    """An awaitable that is no coroutine."""

    def __init__(self, of="foreign"):
        self.of = of

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return self.of
