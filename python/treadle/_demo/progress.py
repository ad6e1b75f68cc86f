"""The progress line: rewritten in place on a terminal, silent anywhere else."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

REDRAW_SECONDS = 0.1


class Progress:
    """Progress of one stage at a time.  Used from one thread only."""

    def __init__(self, stream: TextIO, *, enabled: bool | None = None) -> None:
        self._stream = stream
        self._enabled = stream.isatty() if enabled is None else enabled
        self._text = ""
        self._total = 0
        self._done = 0
        self._drawn_at = 0.0

    def stage(self, text: str, total: int) -> None:
        """Begin a stage of `total` ticks; 0 for a stage that does not count."""
        self._text, self._total, self._done = text, total, 0
        self._draw()

    def tick(self) -> None:
        """One more step of this stage is done."""
        self._done += 1
        if self._enabled and time.monotonic() - self._drawn_at >= REDRAW_SECONDS:
            self._draw()

    def clear(self) -> None:
        """Leave an empty line behind, for other output."""
        if self._enabled:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self) -> None:
        if not self._enabled:
            return
        count = f"  {self._done}/{self._total}" if self._total else ""
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + (self._text + count)[:width])
        self._stream.flush()
        self._drawn_at = time.monotonic()
