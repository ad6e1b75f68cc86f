"""Every test here runs on asyncio's own loop as well: all must pass the same body."""

import pytest
from support.loop_fixtures import *  # noqa: F403
from support.sockets import new_pair


@pytest.fixture(params=["UNIX", "TCP"])
def pair(request):
    """Two connected sockets that do not block."""
    ours, theirs = new_pair(request.param)
    yield ours, theirs
    ours.close()
    theirs.close()
