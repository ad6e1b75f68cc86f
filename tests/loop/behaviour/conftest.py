"""What any loop must do, seen from outside: nothing here looks into the loop."""

import asyncio

import pytest

LIMIT = 60.0


@pytest.fixture
def complaints(loop):
    """What came to the loop's exception handler. A test that does not ask for it must have none."""
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    return contexts


@pytest.fixture
def run(loop, complaints, request):
    """Runs a coroutine function on the loop, for a minute at most."""

    def run(main):
        async def limited():
            async with asyncio.timeout(LIMIT):
                return await main()

        result = loop.run_until_complete(limited())
        if "complaints" not in request.function.__code__.co_varnames[: request.function.__code__.co_argcount]:
            assert complaints == []
        return result

    return run
