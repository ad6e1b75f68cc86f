"""Progress bars for map(), by tqdm."""

import operator
from collections.abc import Iterable, Iterator
from typing import Any


def _make_bar(progress: Any, iterables: tuple[Iterable[Any], ...]) -> Any:
    """The bar to use: ``progress`` itself if it is one, else a new one."""
    if progress is not True:
        return progress
    try:
        from tqdm.auto import tqdm
    except ImportError as exc:
        raise ImportError(
            "progress=True needs tqdm: pip install 'treadle[progress]', "
            "or pass an object with update() and close()"
        ) from exc
    lengths = [operator.length_hint(it, -1) for it in iterables]
    known = bool(lengths) and min(lengths) >= 0
    return tqdm(total=min(lengths) if known else None)


class ProgressIterator(Iterator[Any]):
    """Advance a bar by one for each result; close it at the end if it is ours."""

    def __init__(self, results: Any, bar: Any, ours: bool) -> None:
        self._results = results
        self._bar = bar
        self._ours = ours

    def __next__(self) -> Any:
        try:
            result = next(self._results)
        except BaseException:
            self._close_bar()
            raise
        self._bar.update(1)
        return result

    def _close_bar(self) -> None:
        if self._ours:
            self._bar.close()

    def close(self) -> None:
        """Cancel the items that have not started, and close the bar."""
        self._results.close()
        self._close_bar()


def check(progress: Any) -> bool:
    """Whether a bar is wanted; TypeError if ``progress`` cannot be one."""
    if progress is None or progress is False:
        return False
    if progress is not True and not callable(getattr(progress, "update", None)):
        raise TypeError(
            "progress must be True, False, None or an object with an update() method, "
            f"not {type(progress).__name__!r}"
        )
    return True


def prepare(progress: Any, iterables: tuple[Iterable[Any], ...]) -> Any:
    """The bar for a map over ``iterables``; before the jobs are queued, so that a
    missing tqdm is noticed first."""
    return _make_bar(progress, iterables)
