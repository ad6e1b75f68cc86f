"""What code finds that looks into a loop: its queues and its selector.

They are native; here they look like what asyncio's loop has there.
"""

import selectors
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._loop import EventLoop


class ReadyView:
    """The ready queue as loop._ready: most of a deque."""

    def __init__(self, loop: "EventLoop") -> None:
        self._loop = loop

    def append(self, handle: Any) -> None:
        self._loop._ready_append(handle)

    def extend(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            self.append(handle)

    def appendleft(self, handle: Any) -> None:
        self._replace([handle, *self])

    def remove(self, handle: Any) -> None:
        handles = list(self)
        handles.remove(handle)
        self._replace(handles)

    def popleft(self) -> Any:
        return self._loop._ready_popleft()

    def clear(self) -> None:
        self._loop._ready_clear()

    def _replace(self, handles: list[Any]) -> None:
        self.clear()
        self.extend(handles)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loop._ready_list())

    def __getitem__(self, index: Any) -> Any:
        return self._loop._ready_list()[index]

    def __len__(self) -> int:
        return self._loop.stats()["ready"]

    def __repr__(self) -> str:
        return f"<ready queue {list(self)!r}>"


class ScheduledView:
    """The timers as loop._scheduled, soonest first, without those that were cancelled."""

    def __init__(self, loop: "EventLoop") -> None:
        self._loop = loop

    def clear(self) -> None:
        self._loop._scheduled_clear()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loop._scheduled_list())

    def __getitem__(self, index: Any) -> Any:
        return self._loop._scheduled_list()[index]

    def __len__(self) -> int:
        return self._loop.stats()["timers"]["pending"]

    def __bool__(self) -> bool:
        # A turn written in Python looks for timers that are due and would take them out
        # of the list; it never finds one, as they are in the ready queue by then.
        if self._loop._turned_by_python:
            self._loop._collect_due()
        return len(self) > 0

    def __repr__(self) -> str:
        return f"<timers {list(self)!r}>"


class Watches(Mapping[Any, selectors.SelectorKey]):
    """Who waits for which descriptor: a selector's get_map()."""

    def __init__(self, loop: "EventLoop") -> None:
        self._keys = {
            fd: selectors.SelectorKey(fd, fd, mask, (reader, writer))
            for fd, mask, reader, writer in loop._watched()
        }

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj if isinstance(fileobj, int) else fileobj.fileno()]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class LoopSelector(selectors.BaseSelector):
    """The poller as loop._selector."""

    def __init__(self, loop: "EventLoop") -> None:
        self._loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError("use the loop's add_reader() and add_writer()")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise NotImplementedError("use the loop's remove_reader() and remove_writer()")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Poll for `timeout` seconds at most, or until the first timer is due.

        For code that makes the loop's turns itself, as nest_asyncio does. Returns no
        events: handles of ready descriptors and due timers are in the ready queue.
        """
        self._loop._turned_by_python = True
        self._loop._poll(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return Watches(self._loop)

    def close(self) -> None:
        self._loop._close_native()
