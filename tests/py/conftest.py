"""Fixtures for this directory: the implementations under test, gates and pools."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from support.fixtures import *  # noqa: E402, F403
