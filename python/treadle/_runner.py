"""Runner and run(): asyncio's, with treadle's loop."""

import asyncio
import sys
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ._loop import new_event_loop

T = TypeVar("T")


class Runner(asyncio.Runner):  # type: ignore[misc]
    """An asyncio.Runner whose loop is treadle's unless `loop_factory` makes another."""

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        super().__init__(debug=debug, loop_factory=loop_factory or new_event_loop)


def _run(
    main: Coroutine[Any, Any, T],
    debug: bool | None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> T:
    if events._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)


if sys.version_info >= (3, 12):

    def run(
        main: Coroutine[Any, Any, T],
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> T:
        """Run a coroutine on a new EventLoop and return its result.

        As ``asyncio.run()``, messages included, with treadle's loop by default.
        """
        return _run(main, debug, loop_factory)

else:

    def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
        """Run a coroutine on a new EventLoop and return its result.

        As ``asyncio.run()``, messages included, with treadle's loop.
        """
        return _run(main, debug, None)
