"""Servers in a process of their own, and plain requests to them."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time

from support.scripts import script_environment

LIMIT = 60.0


@contextlib.contextmanager
def serving(command, folder, *, pass_fds=(), stop=signal.SIGTERM, statuses=(0,), **environment):
    """Run `command` in `folder` meanwhile; then signal it: it must end by itself, with one of `statuses`.

    Yields a function that fails, with what the server wrote, once the server has died.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=script_environment(**environment), pass_fds=pass_fds, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )

        def output():
            log.seek(0)
            return f"--- the server wrote\n{log.read()[-4000:]}"

        def alive():
            assert process.poll() is None, f"the server ended with status {process.returncode}\n{output()}"

        try:
            yield alive
            alive()
            process.send_signal(stop)
            try:
                process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"the server does not stop\n{output()}") from None
            assert process.returncode in statuses, f"the server ended with status {process.returncode}\n{output()}"
            assert "Traceback" not in output(), output()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def listening():
    """A listening socket for a server to inherit."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        yield listener


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(port, alive):
    """Until something accepts connections there."""
    deadline = time.monotonic() + LIMIT
    while True:
        alive()
        try:
            socket.create_connection(("127.0.0.1", port), LIMIT).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.05)


class Client:
    """A plain client with one connection, which is kept alive."""

    def __init__(self, port):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)

    def __enter__(self):
        self._connection.connect()
        self._socket = self._connection.sock
        return self

    def __exit__(self, *error):
        self._connection.close()

    def request(self, method, path, body=None):
        """Status and body of the answer; the connection must have been kept."""
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        answer = response.status, response.read()
        assert self._connection.sock is self._socket, "the server closed the connection"
        return answer
