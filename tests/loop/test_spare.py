"""Receiving into objects that are used again: nobody may ever see one change."""

import pytest
from support.streams import Link, Recorder, run_until, tcp_pair

SIZES = [1, 959, 960, 1000, 1024, 961, 3000, 4095, 4096, 8191, 8192, 16384, 40000, 65535, 65536, 131072, 262143, 262144, 262145, 600000]


def pattern(i, size):
    return bytes([i % 251]) * size


class Keeper(Recorder):
    """Keeps what it gets, or its digest only."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep
        self.total = 0
        self.kept = []

    def data_received(self, data):
        assert len(data) == len(bytes(bytearray(data)))
        self.total += len(data)
        if self.keep:
            self.kept.append((data, hash(data)))
        else:
            self.kept.append((None, hash(bytes(bytearray(data)))))
            assert hash(data) == self.kept[-1][1]


@pytest.mark.parametrize("keep", [True, False, "sometimes"])
def test_messages_of_all_sizes(loop, keep):
    protocol = Keeper(keep)
    link = Link(loop, protocol, tcp_pair)
    sent = bytearray()
    for i, size in enumerate(SIZES * 3):
        if keep == "sometimes":
            protocol.keep = i % 2
        message = pattern(i, size)
        sent += message
        link.peer.setblocking(False)
        view = memoryview(message)

        def push():
            nonlocal view
            try:
                while view:
                    view = view[link.peer.send(view) :]
            except BlockingIOError:
                pass
            return protocol.total == len(sent)

        run_until(loop, push)
    if keep is True:
        assert b"".join(data for data, _ in protocol.kept) == bytes(sent)
    for data, digest in protocol.kept:
        if data is not None:
            # the hash was kept by the object: a changed one would not match
            assert hash(bytes(bytearray(data))) == digest
    link.close()


def test_kept_in_a_view(loop):
    views = []
    protocol = Recorder(data=lambda _, data: views.append(memoryview(data)[:100]))
    link = Link(loop, protocol, tcp_pair)
    protocol.events = Forgetful()
    for i in range(12):
        count = len(views)
        link.peer.sendall(pattern(i, 20000))
        run_until(loop, lambda count=count: len(views) > count)
        while sum(len(view.obj) for view in views) < 20000 * (i + 1):
            run_until(loop, lambda: True)
    everything = b"".join(view.obj for view in views)
    assert everything == b"".join(pattern(i, 20000) for i in range(12))
    link.close()


class Forgetful(list):
    """The recorder's list, which would keep the data."""

    def append(self, event):
        super().append(event[:1])


def test_written_data_is_not_overwritten(loop):
    protocol = Recorder(data=lambda self, data: self.transport.write(data))
    protocol.events = Forgetful()
    link = Link(loop, protocol, tcp_pair)
    sent = bytearray()
    got = bytearray()
    link.peer.setblocking(False)
    message = memoryview(b"".join(pattern(i, 50000) for i in range(100)))
    sent += message

    def exchange():
        nonlocal message
        try:
            while message:
                message = message[link.peer.send(message) :]
        except BlockingIOError:
            pass
        if not message or len(got) > len(sent) // 2:
            try:
                while part := link.peer.recv(30000):
                    got.extend(part)
            except BlockingIOError:
                pass
        return len(got) == len(sent)

    link.transport.set_write_buffer_limits(1 << 30)
    run_until(loop, exchange, 30)
    assert got == sent
    link.close()


@pytest.mark.parametrize("every", [1, 2, 17])
def test_small_messages_that_are_kept(loop, every):
    """Of objects that serve again those that somebody kept, or looked at with hash(), stay as they were."""
    kept = []

    class Sometimes(Recorder):
        def data_received(self, data):
            self.count = getattr(self, "count", 0) + 1
            if self.count % every == 0:
                kept.append((data, hash(data)))
            else:
                assert hash(data) == hash(bytes(bytearray(data)))

    protocol = Sometimes()
    link = Link(loop, protocol)
    for i in range(120):
        link.peer.sendall(pattern(i, 960 + i * 37 % 3000))
        run_until(loop, lambda i=i: getattr(protocol, "count", 0) == i + 1)
    assert len(kept) == 120 // every
    for number, (data, digest) in enumerate(kept):
        i = (number + 1) * every - 1
        assert data == pattern(i, 960 + i * 37 % 3000)
        assert hash(bytes(bytearray(data))) == digest
