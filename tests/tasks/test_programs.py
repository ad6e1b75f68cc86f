"""Random programs of tasks leave the same trace with asyncio's tasks on asyncio's loop and with treadle's on its own.

TREADLE_EXAMPLES in the environment is how many programs to try.
"""

import asyncio
import os
import sys
from types import SimpleNamespace

import pytest
import treadle
from support.programs import RESOURCES, Cancelling, traced
from treadle import aio

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import strategies as st  # noqa: E402

EXAMPLES = int(os.environ.get("TREADLE_EXAMPLES", "300"))

PLAIN = [
    *("sleep", "forever", "bare", "bad", "raise", "future", "resolve", "fail", "cancel_future", "renew", "call_back"),
    *("remove", "wait_for_task", "cancel", "uncancel", "look", "shield", "gather", "wait", "as_completed", "wait_for"),
    *("expire", "put", "get", "event", "notify", "wait_notified", "soon"),
]
WITH_BODY = ["spawn", "catch", "finally", "repeat", "lock", "timeout", "await_for", "generator"]
WITH_BODIES = ["group", "gather_bodies"]

NUMBER = st.integers(0, 4 * RESOURCES - 1)
OPERATION = st.recursive(
    st.tuples(st.sampled_from(PLAIN), NUMBER),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(WITH_BODY), st.lists(inner, max_size=4), NUMBER),
        st.tuples(st.sampled_from(WITH_BODIES), st.lists(st.lists(inner, max_size=3), max_size=3), NUMBER),
    ),
    max_leaves=12,
)
PROGRAM = st.lists(st.lists(OPERATION, min_size=1, max_size=6), min_size=1, max_size=4)

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # cancelled before it began

NAMES = [
    *("Condition", "Event", "Lock", "Queue", "TaskGroup", "as_completed", "gather", "shield", "sleep", "timeout", "wait"),
    "wait_for",
]
ASYNCIO = SimpleNamespace(**{name: getattr(asyncio, name) for name in NAMES})
TREADLE = SimpleNamespace(**vars(ASYNCIO))
for name in ("as_completed", "gather", "shield", "sleep", "timeout", "wait", "wait_for"):
    setattr(TREADLE, name, getattr(aio, name))
for name in ("Event", "Lock", "Queue"):
    setattr(TREADLE, name, getattr(treadle, name))
if sys.version_info >= (3, 13):  # with which asyncio's conditions pass on what a cancelled task was given, as ours do
    TREADLE.Condition = treadle.Condition
SIDES = [(treadle.new_event_loop, ASYNCIO), (treadle.new_event_loop, TREADLE)]

# Programs as people write them; a cancellation is put at each of their suspensions.
WORK = [("sleep", 1), ("bare", 0), ("soon", 3), ("sleep", 2)]
SAMPLE = {
    "producer and consumers": [
        [("catch", [("repeat", [("put", 1), ("sleep", 0)], 0)], 0), ("put", 2), ("sleep", 0), ("put", 3)],
        [*WORK, ("repeat", [("get", 0), ("look", 0)], 0), ("get", 0)],
        [("catch", [("put", 4), ("put", 5)], 0), ("get", 0), *WORK],
        [("timeout", [("get", 0), ("get", 0)], 2)],
    ],
    "timeouts": [
        [("timeout", [("timeout", [*WORK, ("future", 0)], 2), *WORK], 2), ("look", 1)],
        [*WORK, ("expire", 1), ("sleep", 0), ("expire", 1), ("timeout", [("sleep", 0)], 1), ("timeout", WORK, 3)],
    ],
    "groups": [
        [("group", [WORK, [("future", 0)], [("group", [WORK, [("forever", 0)]], 1)]], 1), ("sleep", 0)],
        [*WORK, *WORK, ("group", [[("raise", 1)], [("finally", [("sleep", 1)], 1)]], 1), ("resolve", 0), ("expire", 1)],
        [("catch", [("group", [[("catch", [("forever", 0)], 0)], WORK], 3)], 0)],
    ],
    "gather and shield": [
        [("spawn", WORK, 0), ("spawn", [("future", 1)], 2), ("spawn", [("raise", 1)], 3), ("gather", 1), ("gather", 0)],
        [("gather_bodies", [WORK, [("shield", 4), ("sleep", 0)], [("future", 2)]], 1)],
        [("catch", [("shield", 0)], 0), *WORK, ("resolve", 0), ("resolve", 1), ("resolve", 2), ("renew", 0), ("cancel", 3)],
    ],
    "locks and conditions": [
        [("lock", [*WORK, ("lock", WORK, 1)], 0), ("wait_notified", 0)],
        [("lock", WORK, 0), ("lock", [("event", 0)], 0), ("wait_notified", 0)],
        [("lock", [("repeat", [("sleep", 0)], 0)], 1), ("notify", 1), ("event", 1), *WORK, ("notify", 2)],
    ],
    "waiting for the first": [
        [("spawn", [*WORK, ("future", 0)], 0), ("spawn", WORK, 0), ("wait", 1), ("wait", 0), ("as_completed", 1)],
        [("spawn", [("await_for", [*WORK, ("future", 1)], 1)], 0), ("wait_for", 2), ("wait_for", 1)],
        [*WORK, ("resolve", 0), *WORK, ("fail", 1), ("wait_for", 0)],
    ],
    "generators": [
        [("generator", [*WORK, ("lock", [("sleep", 0)], 0)], 1), ("generator", [("future", 0)], 2)],
        [("lock", [("generator", [("get", 0)], 0)], 0)],
        [("put", 1), *WORK, ("put", 2), ("resolve", 0), ("cancel", 1)],
    ],
}  # fmt: skip

settings = hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)


@settings
@hypothesis.given(PROGRAM)
def test_same_trace(program):
    expected = traced(asyncio.SelectorEventLoop, ASYNCIO, program)
    for factory, kit in SIDES:
        assert traced(factory, kit, program) == expected


@settings
@hypothesis.given(PROGRAM, st.integers(0, 30), st.booleans())
def test_same_trace_with_a_cancellation(program, place, at_once):
    expected = traced(asyncio.SelectorEventLoop, ASYNCIO, program, Cancelling(place, at_once))
    for factory, kit in SIDES:
        assert traced(factory, kit, program, Cancelling(place, at_once)) == expected


@pytest.mark.parametrize("at_once", [True, False], ids=["before it waits", "while it waits"])
@pytest.mark.parametrize("name", SAMPLE)
def test_a_cancellation_at_each_await(name, at_once):
    whole = Cancelling(-1, at_once)
    plain = traced(asyncio.SelectorEventLoop, ASYNCIO, SAMPLE[name], whole)
    assert whole.seen >= 10
    cancelled = 0
    for place in range(whole.seen):
        expected = traced(asyncio.SelectorEventLoop, ASYNCIO, SAMPLE[name], Cancelling(place, at_once))
        cancelled += expected != plain
        for factory, kit in SIDES:
            assert traced(factory, kit, SAMPLE[name], Cancelling(place, at_once)) == expected, place
    assert cancelled > whole.seen / 2
