"""The unittest result that reduces what is reported of each test to one outcome and a detail."""

import unittest

from test import support


class OutcomeResult(unittest.TestResult):
    """A subclass is told by started(), ended() and, of the set-up and tear-down of a module or class, by around()."""

    def __init__(self):
        super().__init__()
        self._outcome = None

    def started(self, test):
        raise NotImplementedError

    def ended(self, test, outcome, detail):
        raise NotImplementedError

    def around(self, outcome, detail):
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
        self._outcome = None
        self.ended(test, outcome, detail)

    def _set(self, test, outcome, detail):
        if not isinstance(test, unittest.TestCase):
            self.around(outcome, f"{test}: {detail}")
        elif self._outcome is None:  # 3.12.1 skips, and stops, without a start
            self._outcome = (outcome, detail)
            self.started(test)
        elif self._outcome[0] != "failed":  # a part that failed outweighs another that was skipped
            self._outcome = (outcome, detail)

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
