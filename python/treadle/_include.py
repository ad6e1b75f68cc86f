"""Where the C header is."""

import os


def get_include() -> str:
    """Return the directory that holds ``treadle.h``, for an extension's build."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")
