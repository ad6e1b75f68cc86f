"""getaddrinfo() and getnameinfo(): what they give is what socket's functions give."""

import asyncio
import inspect
import logging
import socket
import threading

import pytest
import treadle

HOSTS = [
    None,
    "",
    b"",
    "127.0.0.1",
    b"127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "127.1",
    "0x7f.0.0.1",
    "1.2.3.4.5",
    "127.0.0.1 ",
    "127.0.0.1%lo",
    "::",
    "::1",
    b"::1",
    "::ffff:1.2.3.4",
    "::1.2.3.4",
    "1::2::3",
    "fe80::1",
    "fe80::1%lo",
    b"fe80::1%lo",
    "fe80::1%1",
    "fe80::1%",
    "fe80::1%4294967295",
    "fe80::1%no-such-link",
    "fe80::1%lo\0",
    "2001:db8::1%1",
    "\uff11\uff12\uff17.0.0.1",
    "1" * 100,
    127,
    1.5,
    bytearray(b"127.0.0.1"),
]
PORTS = [None, 0, 80, 65535, 65536, -1, 10**30, "", "80", b"80", "00080", "99999999999999999999"]
PORTS += [" 80", "+80", "0x50", "80\0", "http", b"http", "no-such-service", 80.5, True]
FAMILIES = [0, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 99]
TYPES = [0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 77]
PROTOS = [0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 255]
FLAGS = {
    getattr(socket, name)
    for name in dir(socket)
    if name.startswith("AI_") and name not in ("AI_DEFAULT", "AI_MASK")
}


def outcome_of(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except Exception as exc:
        return type(exc), exc.args, str(exc)


def both(loop, host, port, family=0, type=0, proto=0, flags=0):
    ours = outcome_of(
        lambda: loop.run_until_complete(
            loop.getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        )
    )
    return ours, outcome_of(socket.getaddrinfo, host, port, family, type, proto, flags)


def asks_a_server(host):
    """Not an address, so without AI_NUMERICHOST it may be asked for over the network."""
    return isinstance(host, str | bytes) and host not in ("", b"") and not is_literal(host)


def is_literal(host):
    text = host.decode() if isinstance(host, bytes) else host
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


@pytest.mark.parametrize("host", HOSTS, ids=ascii)
def test_getaddrinfo_of_every_kind_of_port(loop, host):
    flags = socket.AI_NUMERICHOST if asks_a_server(host) else 0
    for port in PORTS:
        ours, theirs = both(loop, host, port, flags=flags)
        assert ours == theirs, port


@pytest.mark.parametrize("flags", sorted(FLAGS | {0, 1 << 20, -1, 1 << 40}))
def test_getaddrinfo_of_every_flag(loop, flags):
    for host in (None, "127.0.0.1", "::1", "::ffff:1.2.3.4", "fe80::1%lo", "fe80::1%9x"):
        for family in FAMILIES:
            for port in (None, 80, "80", "http"):
                ours, theirs = both(loop, host, port, family, 0, 0, flags)
                assert ours == theirs, (host, family, port)


def test_getaddrinfo_of_every_family_type_and_protocol(loop):
    for host in (None, "127.0.0.1", "::1"):
        for family in FAMILIES:
            for type in TYPES:
                for proto in PROTOS:
                    ours, theirs = both(loop, host, 80, family, type, proto)
                    assert ours == theirs, (host, family, type, proto)


@pytest.mark.parametrize("wrong", [{"family": "x"}, {"type": None}, {"proto": 1.5}, {"flags": "0"}])
def test_getaddrinfo_of_the_wrong_types(loop, wrong):
    ours, theirs = both(loop, "127.0.0.1", 80, **wrong)
    assert ours == theirs
    assert theirs[0] is TypeError


def test_getaddrinfo_results_are_enums(loop):
    (info,) = loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    assert type(info[0]) is socket.AddressFamily
    assert type(info[1]) is socket.SocketKind


def test_getaddrinfo_is_a_coroutine_function(loop):
    assert inspect.iscoroutinefunction(loop.getaddrinfo)
    assert inspect.iscoroutinefunction(loop.getnameinfo)


def test_getaddrinfo_raises_when_it_is_awaited(loop):
    lookup = loop.getaddrinfo("127.0.0.1", 80, family=99)
    with pytest.raises(socket.gaierror):
        loop.run_until_complete(lookup)


def test_getaddrinfo_property(loop):
    pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    texts = st.one_of(
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map(str),
        st.ip_addresses(v=6).map(lambda address: address.exploded.upper()),
        st.tuples(st.ip_addresses(v=6), st.sampled_from(["%lo", "%1", "%7", "%", "%?"])).map(
            lambda pair: f"{pair[0]}{pair[1]}"
        ),
        st.text("0123456789abcdefx:.% ", max_size=50),
    )
    hosts = st.one_of(st.none(), texts, texts.map(str.encode))
    numbers = st.integers(-(2**20), 2**20)
    ports = st.one_of(st.none(), numbers, numbers.map(str), st.text("0123456789 +-", max_size=8))
    flags = st.sets(st.sampled_from(sorted(FLAGS))).map(sum)

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        hosts, ports, st.sampled_from(FAMILIES), st.sampled_from(TYPES), st.sampled_from(PROTOS), flags
    )
    def check(host, port, family, type, proto, flags):
        if asks_a_server(host):
            flags |= socket.AI_NUMERICHOST
        ours, theirs = both(loop, host, port, family, type, proto, flags)
        assert ours == theirs

    check()


NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
ADDRESSES = [
    ("127.0.0.1", 80),
    ("::1", 80, 0, 0),
    ("fe80::1", 80, 0, 1),
    ("fe80::1%lo", 80),
    ("127.0.0.1", 70000),
    ("127.0.0.1", -1),
    ("127.0.0.1", 80, 3, 4),
    ("::1", 80, 1 << 30, 0),
    ("not an address", 80),
    ("127.0.0.1",),
    ("127.0.0.1", "80"),
    "127.0.0.1",
    None,
]


@pytest.mark.parametrize("address", ADDRESSES, ids=ascii)
@pytest.mark.parametrize("more", [0, socket.NI_DGRAM, socket.NI_NAMEREQD, socket.NI_NOFQDN])
def test_getnameinfo(loop, address, more):
    flags = NUMERIC | more
    ours = outcome_of(lambda: loop.run_until_complete(loop.getnameinfo(address, flags)))
    assert ours == outcome_of(socket.getnameinfo, address, flags)


@pytest.mark.parametrize("flags", [socket.NI_NUMERICHOST, "0", None])
def test_getnameinfo_that_has_to_look_up(loop, flags):
    ours = outcome_of(lambda: loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), flags)))
    assert ours == outcome_of(socket.getnameinfo, ("127.0.0.1", 80), flags)


# ---- who does it ---------------------------------------------------------------------


@pytest.fixture
def no_executor(monkeypatch):
    """A treadle loop that fails if it is asked to run something in an executor."""
    loop = treadle.new_event_loop()

    def run_in_executor(*args):
        raise AssertionError(f"went to the executor: {args}")

    monkeypatch.setattr(loop, "run_in_executor", run_in_executor)
    yield loop
    loop.close()


@pytest.mark.parametrize("port", [None, 80, "80", b"80"])
@pytest.mark.parametrize("host", [None, "127.0.0.1", b"::1", "fe80::1%lo", "fe80::1%1"])
def test_addresses_take_no_thread(no_executor, host, port):
    ours, theirs = both(no_executor, host, port)
    assert ours == theirs


@pytest.mark.parametrize(
    ("host", "port"),
    [("", 80), ("localhost", 80), ("127.1", 80), ("127.0.0.1", "http"), ("127.0.0.1%lo", 80)],
)
def test_names_take_a_thread(no_executor, host, port):
    with pytest.raises(AssertionError, match="went to the executor"):
        no_executor.run_until_complete(no_executor.getaddrinfo(host, port))


def test_numbers_of_an_address_take_no_thread(no_executor):
    names = no_executor.run_until_complete(no_executor.getnameinfo(("127.0.0.1", 80), NUMERIC))
    assert names == ("127.0.0.1", "80")


def test_a_replacement_runs_in_the_executor(loop, monkeypatch):
    seen = []

    def replacement(*args):
        seen.append((args, threading.get_ident()))
        return []

    monkeypatch.setattr(socket, "getaddrinfo", replacement)
    assert loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, flags=1)) == []
    ((args, thread),) = seen
    assert args == ("127.0.0.1", 80, 0, 0, 0, 1)
    assert thread != threading.get_ident()


def test_debug_mode_logs_how_long_it_took(loop, caplog):
    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    assert "Getting address info 127.0.0.1:80 took" in caplog.text


def test_a_connection_to_an_address_that_is_none(loop):
    with pytest.raises(socket.gaierror) as theirs:
        socket.getaddrinfo("::1%no-such-link", 80)
    with pytest.raises(socket.gaierror) as ours:
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, "::1%no-such-link", 80))
    assert ours.value.args == theirs.value.args
