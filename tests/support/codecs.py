"""Two codecs in one process, as a pool's parent and one of its workers have them."""

import os
import pickle

from treadle import _native


class Pair:
    """A parent's codec and a worker's; with `stores` they share memory for large parts."""

    def __init__(self, stores=True, pickler=None):
        self.parent = _native.Codec(pickler)
        self.worker = _native.Codec(pickler)
        if stores:
            self.parent.open()
            descriptor = self.parent.add_worker(1)
            try:
                self.worker.join(self.parent.calls_fd(), descriptor)
            finally:
                os.close(descriptor)

    def there(self, value):
        """`value` as the worker gets it."""
        return self.worker.get_value(self.parent.put_value(value))

    def back(self, value):
        """`value` as the parent gets it."""
        return self.parent.get_value(self.worker.put_value(value))

    def call(self, function, *args, **kwargs):
        """A call as the worker gets it."""
        number, data = self.parent.put_call(function, *args, **kwargs)
        if number:
            self.worker.define(number, self.parent.function(number))
        return self.worker.get_call(number, data)

    def blocks(self):
        """How many blocks are in use, for calls and for results."""
        return self.parent.stats()["blocks"], self.worker.stats()["blocks"]


class Box:
    """Holds a buffer that protocol 5 takes out of the pickle."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Box, (pickle.PickleBuffer(self.data),)
