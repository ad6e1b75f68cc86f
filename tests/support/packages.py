"""Packages that a test needs and the project does not."""

import importlib
import os

import pytest

# Set where the packages have been installed for the tests: then one that is missing is a failure.
REQUIRED = bool(os.environ.get("TREADLE_PACKAGES_REQUIRED"))


def need(*names):
    """Import the packages or skip the module, with the reason; returns the one, or a list."""
    for name in names:
        if not REQUIRED:
            pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
    modules = [importlib.import_module(name) for name in names]
    return modules[0] if len(modules) == 1 else modules
