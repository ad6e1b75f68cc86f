"""Name lookup: what needs no looking up is answered at once, the rest by the default executor.

The C library is the one who answers in both cases, so the results are the same.
The two flags that are added at the first merely forbid it to ask anybody.
"""

import asyncio
import socket
from typing import Any

from ._native import _is_numeric_address

_getaddrinfo = socket.getaddrinfo
_getnameinfo = socket.getnameinfo

# Plain numbers: an enum would drop flags that it does not know.
_NUMERICHOST = int(socket.AI_NUMERICHOST)
_NUMERICSERV = int(socket.AI_NUMERICSERV)
_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class NameLookup(asyncio.SelectorEventLoop):
    """getaddrinfo() and getnameinfo() of EventLoop."""

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """As socket.getaddrinfo(); in the default executor, unless the host is a literal address."""
        if (
            self._debug  # type: ignore[attr-defined]  # asyncio's own logs how long it took
            or not _is_numeric_address(host, port)
            or not isinstance(flags, int)
            or socket.getaddrinfo is not _getaddrinfo  # a replacement may do anything
        ):
            return await super().getaddrinfo(
                host, port, family=family, type=type, proto=proto, flags=flags
            )
        self._check_closed()  # type: ignore[attr-defined]
        flags = int(flags)
        if host is not None:
            flags |= _NUMERICHOST
        if port is not None:
            flags |= _NUMERICSERV
        return _getaddrinfo(host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """As socket.getnameinfo(); in the default executor, unless both flags ask for numbers."""
        if (
            not isinstance(flags, int)
            or flags & _NUMERIC != _NUMERIC
            or socket.getnameinfo is not _getnameinfo
        ):
            return await super().getnameinfo(sockaddr, flags)
        self._check_closed()  # type: ignore[attr-defined]
        return _getnameinfo(sockaddr, flags)
