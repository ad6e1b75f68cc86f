"""The compact form of simple values gives what pickle gives, and takes any bytes."""

import gc
import math
import pickle
import random
import struct
import sys

import pytest

from support.codecs import Pair

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

PAIR = Pair(stores=False)
COMPACT = 0  # the flags of a message in compact form
PICKLED = 4


def there(value):
    data = PAIR.parent.put_value(value)
    return data[0], PAIR.worker.get_value(data)


def same(a, b):
    """Equal, of the same types all through, with the same objects in the same places."""
    return _same(a, b, {}, {})


def _same(a, b, seen, back):
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if not isinstance(a, (str, bytes, bytearray, tuple, list, dict)):
        return a == b
    if len(a) > 1 or not isinstance(a, (str, bytes, tuple)):
        if id(a) in seen or id(b) in back:
            return seen.get(id(a)) == id(b) and back.get(id(b)) == id(a)
        seen[id(a)] = id(b)
        back[id(b)] = id(a)
    if isinstance(a, (str, bytes, bytearray)):
        return a == b
    if len(a) != len(b):
        return False
    if isinstance(a, dict):
        a, b = [x for pair in a.items() for x in pair], [x for pair in b.items() for x in pair]
    return all(_same(x, y, seen, back) for x, y in zip(a, b, strict=True))


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=20)
    | st.binary(max_size=20).map(bytearray)
)
keys = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | st.tuples(st.integers())
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner, max_size=5)
        | inner.map(lambda x: [x, x])
        | inner.map(lambda x: (x, [x], {"x": x}))
    ),
    max_leaves=25,
)
names = st.text(st.characters(codec="utf-8"), min_size=1)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(values)
def test_like_pickle(value):
    _, got = there(value)
    assert same(got, pickle.loads(pickle.dumps(value, 5)))
    assert same(got, value)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(values, max_size=4), st.dictionaries(names, values, max_size=4))
def test_calls_like_pickle(args, kwargs):
    number, data = PAIR.parent.put_call(math.gcd, *args, **kwargs)
    PAIR.worker.define(number, PAIR.parent.function(number))
    function, got_args, got_kwargs = PAIR.worker.get_call(number, data)
    assert function is math.gcd
    assert same((got_args, got_kwargs), pickle.loads(pickle.dumps((tuple(args), kwargs), 5)))


@pytest.mark.parametrize(
    "value",
    [
        *range(-20, 130),
        -(2**63),
        2**63 - 1,
        -0.0,
        math.inf,
        struct.unpack("d", bytes.fromhex("010000000000f87f"))[0],
        "",
        "\0",
        "é",
        "\u20ac" * 300,
        "\U0001f600",
        "\ud800",
        b"",
        bytearray(),
        (),
        [],
        {},
        {float("nan"): 1},
        {(1, (2,)): [3]},
        tuple(range(1000)),
        ["x"] * 1000,
        {i: str(i) for i in range(90)},
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_is_compact(value):
    flags, got = there(value)
    assert flags == COMPACT
    assert same(got, value)


class Int(int):
    pass


class Str(str):
    pass


class List(list):
    pass


class Dict(dict):
    pass


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        Int(5),
        Str("x"),
        List([1]),
        Dict(a=1),
        {1, 2},
        1j,
        [[[1, Int(5)]]],
        {"a": {"b": Str("x")}},
        list(range(5000)),
        [[i] for i in range(400)],
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_is_left_to_pickle(value):
    flags, got = there(value)
    assert flags == PICKLED
    assert got == value
    assert type(got) is type(value)


def test_deep():
    value = []
    for _ in range(31):
        value = [value]
    assert there(value) == (COMPACT, value)
    assert there([value]) == (PICKLED, [value])


def test_same_objects():
    shared = [1]
    text = "".join(["a", "b"])
    data = bytes([1, 2, 3])
    pair = (shared, text)
    value = [shared, pair, {"k": pair, "l": shared, text: data}, data, bytearray(b"x")]
    value.append(value[-1])
    flags, got = there(value)
    assert flags == COMPACT
    assert same(got, value)
    assert got[0] is got[1][0] is got[2]["l"]
    assert got[4] is got[5]


def test_containers_in_themselves():
    items = []
    items += [1, items, (items,)]
    flags, got = there(items)
    assert flags == COMPACT
    assert got[1] is got
    assert got[2][0] is got
    mapping = {}
    mapping["me"] = mapping
    flags, got = there(mapping)
    assert flags == COMPACT
    assert got["me"] is got
    inner = []
    outer = (inner,)
    inner.append(outer)
    flags, got = there(outer)
    assert flags == PICKLED
    assert got[0][0] is got


def test_messages_do_not_share():
    text = "once upon a time"
    data = PAIR.parent.put_value([text, text])
    assert PAIR.worker.get_value(data)[0] is not PAIR.worker.get_value(data)[0]


# ---- hostile bytes ------------------------------------------------------------------------------------


def decode_anything(data):
    try:
        return PAIR.worker.get_value(data)
    except pickle.UnpicklingError as error:
        assert str(error).startswith("malformed message: ")


def seeds():
    rng = random.Random(7)
    value = [1, -300, 2.5, "text", "\u20ac", "\U0001f600", b"bytes", bytearray(b"x"), None, True, False]
    value += [tuple(value), {"a": value[3], 5: (value[6],)}, [[], (), {}]]
    yield PAIR.parent.put_value(value)
    for _ in range(10):
        yield PAIR.parent.put_value([rng.choice(value) for _ in range(rng.randrange(10))])


def test_cut_and_changed_messages():
    rng = random.Random(11)
    count = 0
    for message in seeds():
        for end in range(len(message)):
            decode_anything(message[:end])
        for _ in range(600):
            changed = bytearray(message)
            for _ in range(rng.randrange(1, 4)):
                changed[rng.randrange(1, len(changed))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            count += decode_anything(bytes(changed)) is not None
    assert count > 0


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=60))
def test_any_bytes(data):
    decode_anything(b"\0" + data)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from([*range(16), 0x80, 0x90, 0xFF]), max_size=200).map(bytes))
def test_any_tags(data):
    decode_anything(b"\0" + data)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x03" + b"\xff" * 10,
        b"\x03\x80",
        b"\x04" + b"\0" * 7,
        b"\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
        b"\x07\x01\xff\xff\xff\xff",
        b"\x0c\xff\xff\xff\xff\x0f" + b"\0" * 100,
        b"\x0d\x02\x00",
        b"\x0e\x01\x0d\x00\x00",
        b"\x0c\x01\x0f\x00",
        b"\x0f\x00",
        b"\x0a\x00",
        b"\x0c\x01" * 40 + b"\x00",
        b"\x00\x00",
        b"\x60",
    ],
    ids=lambda body: body[:6].hex() or "nothing",
)
def test_malformed(body):
    with pytest.raises(pickle.UnpicklingError, match="malformed message: "):
        PAIR.worker.get_value(b"\0" + body)


def test_value_that_is_replaced_is_still_known():
    # [{"k": [], "k": -16}, <the third object again>]
    message = b"\0\x0d\x02" + b"\x0e\x02\x05\x01k\x0d\x00\x05\x01k\x80" + b"\x0f\x03"
    assert decode_anything(message) == [{"k": -16}, []]


def test_nothing_leaks():
    value = [["text", b"bytes", 1e300, 10**15], {"key": ("a", "b" * 50)}, "\u20ac\U0001f600"]
    bad = PAIR.parent.put_value(value)[:-3]

    def rounds(n):
        for _ in range(n):
            PAIR.worker.get_value(PAIR.parent.put_value(value))
            decode_anything(bad)

    rounds(50)
    gc.collect()
    before = sys.getallocatedblocks()
    rounds(500)
    gc.collect()
    assert sys.getallocatedblocks() - before < 100
