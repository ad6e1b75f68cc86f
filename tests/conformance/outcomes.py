"""What became of a test, and the unittest result that finds it out."""

import dataclasses
import unittest

from test import support


@dataclasses.dataclass
class Outcome:
    test: str
    outcome: str  # passed, failed, skipped, excluded, stale
    detail: str = ""
    seconds: float = 0.0


class OutcomeResult(unittest.TestResult):
    """Reduces what unittest reports of each test to one outcome and a detail.

    A subclass is told by started(), ended() and, of a module's or class's own set-up and tear-down, broken().
    """

    def __init__(self):
        super().__init__()
        self._outcome = None

    def started(self, test):
        raise NotImplementedError

    def ended(self, test, outcome, detail):
        raise NotImplementedError

    def broken(self, detail):
        raise NotImplementedError

    def startTest(self, test):
        super().startTest(test)
        support.environment_altered = False
        self._outcome = ("passed", "")
        self.started(test)

    def stopTest(self, test):
        super().stopTest(test)
        outcome, detail = self._outcome
        if outcome == "passed" and support.environment_altered:
            outcome, detail = "failed", "threads or processes were left behind after the test"
        self.ended(test, outcome, detail)

    def _set(self, test, outcome, detail):
        if isinstance(test, unittest.TestCase):
            self._outcome = (outcome, detail)
        elif outcome == "skipped":  # by the set-up of a module or class, which stands for all its tests
            self.ended(test, outcome, detail)
        else:
            self.broken(f"{test}: {detail}")

    def addFailure(self, test, err):
        self._set(test, "failed", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        self._set(test, "failed", self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._set(test, "failed", f"{subtest}\n" + self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        self._set(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        self._set(test, "passed", "")

    def addUnexpectedSuccess(self, test):
        self._set(test, "failed", "unexpected success")
