"""install() and EventLoopPolicy: each test in its own interpreter, the policy is global."""

import pytest
import treadle
from support import run_script


def words(body, *options):
    return run_script(body, options=options).split()


def test_nothing_warns():
    """Not the import, not install(), not what programs do next."""
    assert words(
        """
        import asyncio, treadle
        from treadle import EventLoopPolicy, Runner, install, run
        EventLoopPolicy()
        install()
        async def main():
            return type(asyncio.get_running_loop()).__qualname__
        print(asyncio.run(main()))
        """,
        "-W",
        "error",
    ) == ["EventLoop"]


def test_install_reaches_every_way_to_a_loop():
    names = words(
        """
        import asyncio, threading, treadle
        before = asyncio.new_event_loop()
        treadle.install()
        async def main():
            return asyncio.get_running_loop()
        def show(loop):
            print(type(loop).__module__)
        show(asyncio.run(main()))
        with asyncio.Runner() as runner:
            show(runner.run(main()))
        loop = asyncio.new_event_loop()
        show(loop)
        asyncio.set_event_loop(loop)
        show(asyncio.get_event_loop())
        loop.close()
        thread = threading.Thread(target=lambda: show(asyncio.run(main())))
        thread.start()
        thread.join()
        show(asyncio.run(main()))
        show(before)
        before.close()
        """
    )
    assert names == ["treadle._loop"] * 6 + ["asyncio.unix_events"]


def test_a_factory_still_wins():
    assert words(
        """
        import asyncio, treadle
        treadle.install()
        async def main():
            print(type(asyncio.get_running_loop()).__module__)
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())
        """
    ) == ["asyncio.unix_events"]


def test_install_can_be_taken_back():
    assert words(
        """
        import asyncio, treadle, warnings
        warnings.simplefilter("ignore")
        treadle.install()
        assert isinstance(asyncio.get_event_loop_policy(), treadle.EventLoopPolicy)
        asyncio.set_event_loop_policy(None)
        async def main():
            print(type(asyncio.get_running_loop()).__module__)
        asyncio.run(main())
        """
    ) == ["asyncio.unix_events"]


def test_the_policy_set_by_hand():
    """As programs do that select a loop by the name of its policy class."""
    assert words(
        """
        import asyncio, sys, warnings
        from importlib import import_module
        policy = getattr(import_module("treadle"), "EventLoopPolicy")()
        warnings.simplefilter("ignore")
        asyncio.set_event_loop_policy(policy)
        async def main():
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", "exit(3)")
            print(type(asyncio.get_running_loop()).__module__, await process.wait())
        asyncio.run(main())
        """
    ) == ["treadle._loop", "3"]


def test_policy_keeps_a_loop_for_each_thread():
    policy = treadle.EventLoopPolicy()
    loop = policy.new_event_loop()
    assert isinstance(loop, treadle.EventLoop)
    policy.set_event_loop(loop)
    assert policy.get_event_loop() is loop
    policy.set_event_loop(None)
    loop.close()
    with pytest.raises(TypeError, match="loop must be an instance of AbstractEventLoop or None"):
        policy.set_event_loop(5)
