"""Runner and run(): the same bodies on asyncio's and on treadle's."""

import asyncio
import contextvars
import inspect
import signal
import threading
import types

import pytest
import treadle

STOCK = types.SimpleNamespace(Runner=asyncio.Runner, run=asyncio.run)


@pytest.fixture(params=[STOCK, treadle], ids=["stock", "treadle"])
def kind(request):
    return request.param


async def running_loop():
    return asyncio.get_running_loop()


def test_signatures():
    for name in ("Runner", "run"):
        ours = inspect.signature(getattr(treadle, name)).parameters.values()
        stock = inspect.signature(getattr(asyncio, name)).parameters.values()
        assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in stock]
    assert issubclass(treadle.Runner, asyncio.Runner)


def test_the_loop_is_treadles_unless_a_factory_says_otherwise():
    assert isinstance(treadle.run(running_loop()), treadle.EventLoop)
    with treadle.Runner() as runner:
        assert isinstance(runner.get_loop(), treadle.EventLoop)
    with treadle.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert type(runner.run(running_loop())) is asyncio.SelectorEventLoop


@pytest.mark.skipif("loop_factory" not in inspect.signature(asyncio.run).parameters, reason="from 3.12 on")
def test_run_takes_a_factory():
    assert type(treadle.run(running_loop(), loop_factory=asyncio.SelectorEventLoop)) is asyncio.SelectorEventLoop
    assert isinstance(treadle.run(running_loop(), loop_factory=None), treadle.EventLoop)


def test_run_returns_raises_and_closes(kind):
    loop = kind.run(running_loop())
    assert loop.is_closed()

    async def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kind.run(fail())


def test_debug(kind):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert kind.run(main(), debug=True) is True
    assert kind.run(main(), debug=False) is False


def outcome(function, *args):
    """What a call raises, to be compared between the two."""
    with pytest.raises(BaseException) as caught:
        function(*args)
    return type(caught.value), str(caught.value)


def test_errors_are_worded_the_same():
    def from_inside(kind, name):
        async def main():
            coro = running_loop()
            try:
                return outcome(kind.run if name == "run" else kind.Runner().run, coro)
            finally:
                coro.close()

        return kind.run(main())

    for name in ("run", "Runner"):
        assert from_inside(treadle, name) == from_inside(STOCK, name)
    for wrong in (None, 5, lambda: None):
        assert outcome(treadle.run, wrong) == outcome(STOCK.run, wrong)

    def closed(kind):
        runner = kind.Runner()
        runner.close()
        with runner:
            pass
        return outcome(runner.get_loop)

    assert closed(treadle) == closed(STOCK)


def test_runner_runs_several_in_one_context(kind):
    variable = contextvars.ContextVar("variable")

    async def put():
        variable.set(7)

    async def get():
        return variable.get()

    with kind.Runner() as runner:
        runner.run(put())
        assert runner.run(get()) == 7
        other = contextvars.copy_context()
        other.run(variable.set, 9)
        assert runner.run(get(), context=other) == 9
    assert variable.get(None) is None


def test_tasks_that_are_left_are_cancelled(kind):
    ended = []

    async def stay():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def main():
        asyncio.ensure_future(stay())
        await asyncio.sleep(0)

    kind.run(main())
    assert ended == [True]


def test_asynchronous_generators_and_the_executor_are_shut_down(kind):
    ended = []

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append("generator")

    async def main():
        generator = numbers()
        assert await anext(generator) == 1
        main.thread = await asyncio.to_thread(threading.current_thread)
        main.generator = generator

    kind.run(main())
    assert ended == ["generator"]
    assert not main.thread.is_alive()


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_sigint_cancels_the_main_task_and_becomes_keyboard_interrupt(kind):
    seen = []

    async def main():
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        kind.run(main())
    assert seen == ["cancelled"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_sigint_does_not_wait(kind):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(interrupt)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            interrupt()
            await asyncio.sleep(3600)

    with pytest.raises(KeyboardInterrupt):
        kind.run(main())


def test_sigint_that_the_main_task_swallows(kind):
    async def main():
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
        return 5

    assert kind.run(main()) == 5


def test_a_sigint_handler_of_the_program_stays(kind):
    seen = []

    def handler(number, frame):
        seen.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:

        async def main():
            interrupt()
            await asyncio.sleep(0)

        kind.run(main())
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_runners_in_threads(kind):
    results = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(kind.run(asyncio.sleep(0.01, n)))) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2, 3]
