"""A module that reads OMP_NUM_THREADS when it is imported, as numerical libraries do."""

import os

LIMIT = os.environ.get("OMP_NUM_THREADS")
