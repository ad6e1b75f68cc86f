"""The tables of tests that are known not to pass: what their entries mean is said at their head."""

import fnmatch
import tomllib


class Exclusions:
    """The entries of one table that concern one interpreter and one implementation."""

    def __init__(self, path, label, implementation):
        table = tomllib.loads(path.read_text())
        self.minimum = table["minimum"]
        self._entries = [
            (entry["test"], entry["reason"])
            for entry in table.get("exclude", [])
            if label in entry.get("pythons", [label]) and implementation in entry["implementation"]
        ]

    def reason(self, test):
        """Why a test is excluded, or None."""
        for pattern, reason in self._entries:
            if fnmatch.fnmatchcase(test, pattern):
                return reason
        return None

    def unknown(self, tests):
        """Entries that name none of the tests."""
        return [pattern for pattern, _ in self._entries if not fnmatch.filter(tests, pattern)]
