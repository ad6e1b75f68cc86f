"""anyio, whose back end is asyncio, and its pytest plugin."""

import signal
import subprocess
import sys
import threading

import pytest
from support.packages import need
from support.scripts import script_environment

anyio = need("anyio")
import anyio.abc  # noqa: E402
import anyio.from_thread  # noqa: E402
import anyio.to_thread  # noqa: E402


@pytest.fixture
def run(factory):
    def run(main):
        return anyio.run(main, backend="asyncio", backend_options={"loop_factory": factory})

    return run


async def echo(stream):
    async with stream:
        try:
            while True:
                await stream.send(await stream.receive())
        except anyio.EndOfStream:
            pass


async def talk(stream):
    async with stream:
        for number in range(50):
            await stream.send(b"%d" % number)
            assert await stream.receive() == b"%d" % number
        async with anyio.create_task_group() as group:
            group.start_soon(stream.send, b"x" * 1_000_000)
            received = 0
            while received < 1_000_000:
                received += len(await stream.receive())
        await stream.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


def test_tcp(run):
    async def main():
        async with anyio.create_task_group() as group:
            listener = await anyio.create_tcp_listener(local_host="localhost")
            group.start_soon(listener.serve, echo)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            with anyio.fail_after(30):
                async with anyio.create_task_group() as clients:
                    for _ in range(10):
                        clients.start_soon(talk, await anyio.connect_tcp("localhost", port))
            group.cancel_scope.cancel()
        await listener.aclose()

    run(main)


def test_unix(run, tmp_path):
    async def main():
        async with anyio.create_task_group() as group, await anyio.create_unix_listener(tmp_path / "socket") as listener:
            group.start_soon(listener.serve, echo)
            with anyio.fail_after(30):
                await talk(await anyio.connect_unix(tmp_path / "socket"))
            group.cancel_scope.cancel()

    run(main)


def test_udp(run):
    async def main():
        async with (
            await anyio.create_udp_socket(local_host="127.0.0.1") as one,
            await anyio.create_udp_socket(local_host="127.0.0.1") as two,
        ):
            address = two.extra(anyio.abc.SocketAttribute.local_address)
            with anyio.fail_after(30):
                for number in range(50):
                    await one.sendto(b"%d" % number, *address)
                    assert (await two.receive())[0] == b"%d" % number

    run(main)


def test_process(run):
    async def main():
        done = await anyio.run_process([sys.executable, "-c", "print(input()[::-1])"], input=b"treadle\n")
        assert done.stdout == b"eldaert\n"
        with pytest.raises(subprocess.CalledProcessError):
            await anyio.run_process([sys.executable, "-c", "raise SystemExit(3)"])
        with anyio.move_on_after(0.2) as scope:  # killed on the way out
            await anyio.run_process([sys.executable, "-c", "import time; time.sleep(60)"])
        assert scope.cancelled_caught

    run(main)


def test_threads(run):
    async def main():
        async def here():
            return threading.get_ident()

        def there():
            assert threading.get_ident() != home
            return anyio.from_thread.run(here), anyio.from_thread.run_sync(threading.get_ident)

        home = threading.get_ident()
        for _ in range(20):
            assert await anyio.to_thread.run_sync(there) == (home, home)

    run(main)


def test_portal(factory):
    """A loop in a thread of its own, called from here."""
    options = {"loop_factory": factory}
    with anyio.from_thread.start_blocking_portal(backend="asyncio", backend_options=options) as portal:
        assert portal.call(threading.get_ident) != threading.get_ident()
        futures = [portal.start_task_soon(anyio.sleep, 0.01) for _ in range(50)]
        assert [future.result(30) for future in futures] == [None] * 50


def test_signals(run):
    async def main():
        with anyio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as received, anyio.fail_after(30):
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                signal.raise_signal(number)
                assert await anext(received) == number

    run(main)


def test_cancellation(run):
    events = []

    async def sleep(name):
        try:
            await anyio.sleep_forever()
        finally:
            events.append(name)

    async def main():
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as group:
                for name in range(10):
                    group.start_soon(sleep, name)
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.1)
        assert sorted(events) == list(range(10))

    run(main)


def test_pytest_plugin(loop_name, tmp_path):
    (tmp_path / "test_it.py").write_text(f"""
import asyncio
import pytest
import treadle

factory = {"treadle.new_event_loop" if loop_name == "treadle" else "asyncio.SelectorEventLoop"}

@pytest.fixture
def anyio_backend():
    return "asyncio", {{"loop_factory": factory}}

@pytest.fixture
async def value():
    await asyncio.sleep(0)
    yield 5
    await asyncio.sleep(0)

@pytest.mark.anyio
async def test_it(value):
    assert value == 5
    assert isinstance(asyncio.get_running_loop(), treadle.EventLoop) is {loop_name == "treadle"}
""")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=script_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
