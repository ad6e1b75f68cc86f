"""Water marks of the write queue, and pause_writing() and resume_writing()."""

import pytest
from support.streams import Link, Recorder


@pytest.fixture
def link(loop):
    link = Link(loop)
    yield link
    link.close()


def test_default_marks(link):
    assert link.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)


@pytest.mark.parametrize(
    ("given", "marks"),
    [
        ({}, (16384, 65536)),
        ({"high": 0}, (0, 0)),
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 10, "low": 10}, (10, 10)),
        ({"high": None, "low": None}, (16384, 65536)),
        ({"high": 100.0, "low": 3}, (3, 100)),
    ],
)
def test_marks(link, given, marks):
    link.transport.set_write_buffer_limits(**given)
    assert link.transport.get_write_buffer_limits() == marks


@pytest.mark.parametrize(
    ("high", "low", "text"),
    [
        (5, 10, "high (5) must be >= low (10) must be >= 0"),
        (-1, None, "high (-1) must be >= low (-1) must be >= 0"),
        (None, -1, "high (-4) must be >= low (-1) must be >= 0"),
        (0, -1, "high (0) must be >= low (-1) must be >= 0"),
    ],
)
def test_marks_out_of_order(link, high, low, text):
    with pytest.raises(ValueError) as error:
        link.transport.set_write_buffer_limits(high, low)
    assert str(error.value) == text
    assert link.transport.get_write_buffer_limits() == (16384, 65536)


def test_marks_that_are_no_numbers(link):
    with pytest.raises(TypeError):
        link.transport.set_write_buffer_limits("many")


def test_protocol_is_told_once_each_way(link):
    total = link.fill()
    size = link.transport.get_write_buffer_size()
    link.transport.set_write_buffer_limits(size + 1000, 10)
    assert "pause" not in link.protocol.names
    link.transport.write(b"x" * 1000)
    assert "pause" not in link.protocol.names
    link.transport.write(b"x")
    link.transport.write(b"x")
    assert link.protocol.names.count("pause") == 1
    assert link.transport._protocol_paused
    link.drain(total + 1002)
    link.run_until_event("resume")
    assert not link.transport._protocol_paused
    assert link.protocol.names == ["made", "pause", "resume"]


def test_lower_marks_pause_at_once(link):
    total = link.fill()
    link.transport.set_write_buffer_limits(high=0)
    assert link.protocol.names[-1] == "pause"
    link.drain(total)
    link.run_until_event("resume")


def test_writing_from_within_resume(loop):
    protocol = Recorder()
    link = Link(loop, protocol)
    protocol.act["resume"] = lambda self: self.transport.write(b"again")
    total = link.fill()
    link.transport.set_write_buffer_limits(high=0)
    assert link.drain(total + 5).endswith(b"xagain")
    assert protocol.names == ["made", "pause", "resume"]
    link.close()


def test_writing_from_within_pause(loop):
    def act(self):
        self.transport.write(b"pausing")

    link = Link(loop, Recorder(pause=act))
    total = link.fill()
    link.transport.set_write_buffer_limits(high=0)
    assert link.drain(total + 7).endswith(b"xpausing")
    assert link.protocol.names.count("pause") == 1
    link.close()


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_protocol_that_raises(loop, name):
    def fail(self):
        raise ValueError(name)

    link = Link(loop, Recorder(**{name: fail}))
    total = link.fill()
    link.transport.set_write_buffer_limits(high=0)
    link.drain(total)
    link.run_until_event("resume")
    assert [error["message"] for error in link.errors] == [f"protocol.{name}_writing() failed"]
    assert str(link.errors[0]["exception"]) == name
    assert link.errors[0]["protocol"] is link.protocol
    assert not link.transport.is_closing()
    link.close()


def test_exit_from_pause_comes_out_of_the_write(loop):
    def leave(self):
        raise KeyboardInterrupt

    link = Link(loop, Recorder(pause=leave))
    with pytest.raises(KeyboardInterrupt):
        link.transport.write(b"x" * 50_000_000)
    assert link.errors == []
    link.close()
