"""Results on their way to asyncio loops that are closed, interrupted, or no loops."""

import asyncio
import gc
import weakref

import pytest

import treadle


def test_loop_closed_with_results_on_their_way_is_collected():
    def once():
        loop = asyncio.new_event_loop()
        source = treadle.Future()
        treadle.wrap_future(source, loop)
        source.set_result(None)  # asks the loop to call, which it never does
        loop.close()
        return weakref.ref(loop)

    references = [once() for _ in range(5)]
    # a new loop makes room
    loop = asyncio.new_event_loop()
    source = treadle.Future()
    wrapped = treadle.wrap_future(source, loop)
    source.set_result(1)
    assert loop.run_until_complete(wrapped) == 1
    loop.close()
    del loop, wrapped, source
    gc.collect()
    assert [reference() for reference in references] == [None] * 5


class Interrupted(KeyboardInterrupt):
    pass


class OneIsInterrupted(asyncio.SelectorEventLoop):
    def create_future(self):
        future = asyncio.futures._PyFuture(loop=self)
        set_result = future.set_result

        def interrupted(result):
            set_result(result)
            if result == 0:
                raise Interrupted

        future.set_result = interrupted
        return future


def test_interrupt_while_results_are_delivered():
    loop = OneIsInterrupted()
    sources = [treadle.Future() for _ in range(3)]
    wrapped = [treadle.wrap_future(source, loop) for source in sources]
    for i, source in enumerate(sources):
        source.set_result(i)
    try:
        with pytest.raises(Interrupted):
            loop.run_until_complete(asyncio.wait_for(asyncio.gather(*wrapped), 20))
        assert [future.done() for future in wrapped] == [True] * 3
    finally:
        loop.close()


def test_loop_without_weak_references():
    class Slotted:
        __slots__ = ()

        def create_future(self):
            raise AssertionError("not reached")

    with pytest.raises(TypeError, match="weak references"):
        treadle.wrap_future(treadle.Future(), Slotted())


def test_repr_where_a_class_has_an_odd_name():
    class Meta(type):
        __name__ = property(lambda cls: 42)

    class Odd(treadle.Future, metaclass=Meta):
        pass

    class Value(metaclass=Meta):
        pass

    future = Odd()
    assert repr(future).startswith("<42 at 0x")
    future.set_result(Value())
    assert repr(future).endswith("state=finished returned 42>")
