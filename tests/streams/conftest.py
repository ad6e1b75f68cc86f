"""Every test here runs on asyncio's own loop as well: all must pass the same body."""

import pytest
from support.loop_fixtures import *  # noqa: F403
from support.streaming import Ends


@pytest.fixture
def ends(loop):
    ends = Ends(loop)
    yield ends
    ends.close()
