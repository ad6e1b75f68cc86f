"""Log records of workers, handled by the parent's handlers.

Workers send records as messages of one socket, on which no lock is needed and
which a killed worker cannot leave in the middle of anything. A thread of the
parent hands them to the parent's loggers.
"""

import copy
import logging
import os
import pickle
import socket
import threading
from concurrent.futures._base import LOGGER
from multiprocessing import reduction
from typing import Any

# A record that is longer goes without its arguments and extras, its text cut.
_LARGEST = 100_000
_END = pickle.dumps(None)
_FORMATTER = logging.Formatter()


class _Handler(logging.Handler):
    """Sends what it is given to the parent."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._channel.sendall(_pack(record))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._channel.close()
        super().close()


def _pack(record: logging.LogRecord) -> bytes:
    record = copy.copy(record)
    record.msg = record.getMessage()
    record.args = None
    if record.exc_info:
        # The traceback as text: the parent's formatters append it as they would their own.
        record.exc_text = record.exc_text or _FORMATTER.formatException(record.exc_info)
        record.exc_info = None
    try:
        packed = pickle.dumps(record.__dict__)
    except Exception:
        packed = pickle.dumps({name: _plain(value) for name, value in record.__dict__.items()})
    if len(packed) <= _LARGEST:
        return packed
    plain = {name: _plain(value) for name, value in record.__dict__.items()}
    return pickle.dumps({name: _cut(value) for name, value in plain.items()})


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, type(None))) else repr(value)


def _cut(value: Any) -> Any:
    return value[:2000] + "..." if isinstance(value, str) and len(value) > 2000 else value


class Sender:
    """What a worker is given; picklable while a process is being started."""

    def __init__(self, descriptor: int, level: int) -> None:
        self._descriptor = descriptor
        self._level = level

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (reduction.DupFd(self._descriptor), self._level)

    def install(self) -> None:
        """In the worker: records go to the parent, and to none of the handlers that
        a forked worker has from it."""
        channel = socket.socket(fileno=os.dup(self._descriptor))
        for logger in logging.root.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.handlers.clear()
        logging.root.handlers[:] = [_Handler(channel)]
        logging.root.setLevel(self._level)


def _rebuild(descriptor: Any, level: int) -> Sender:
    return Sender(descriptor.detach(), level)


class Relay:
    """The parent's end: takes records in from start() to close().

    level: what workers' root loggers are set to; True for that of the parent's.
    """

    def __init__(self, level: "int | str | bool") -> None:
        self._level = logging.root.level if level is True else logging._checkLevel(level)  # type: ignore[attr-defined]
        self._reader, self._writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to take records in: once workers that are forked from here have been."""
        self._thread = threading.Thread(target=self._run, name="treadle-worker-logs", daemon=True)
        self._thread.start()

    def sender(self) -> Sender:
        """What to give to a worker."""
        return Sender(self._writer.fileno(), self._level)

    def close(self) -> None:
        """Take in what ended workers have sent, and end. A second call does nothing."""
        if self._writer.fileno() >= 0:
            if self._thread is not None:
                self._writer.sendall(_END)
                self._thread.join()
            self._writer.close()
            self._reader.close()

    def _run(self) -> None:
        while True:
            packed = self._reader.recv(1 << 18)
            if not packed:
                return
            try:
                fields = pickle.loads(packed)
                if fields is None:
                    return
                record = logging.makeLogRecord(fields)
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            except Exception:
                LOGGER.exception("a log record of a worker cannot be handled")
