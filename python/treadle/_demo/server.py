"""A local web server whose pages are slow: every answer comes after a fixed delay.

It runs as a child process, so that its work does not share an interpreter with the side that
is being timed, and needs nothing but the standard library.  It prints its port on one line,
serves until its standard input is closed, and so never outlives the parent, however that ends.
"""

from __future__ import annotations

import http.server
import os
import sys
import threading
import time

PAGE_BYTES = 8192


def render(number: int) -> bytes:
    """Page `number`: always the same bytes."""
    title = f"<title>page {number}</title>\n".encode()
    filler = f"<p>line of page {number}</p>\n".encode()
    return (title + filler * (PAGE_BYTES // len(filler)))[:PAGE_BYTES]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET /<number> with that page, after `delay` seconds."""

    delay = 0.0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Serve one page, or 404 for anything that is not a number."""
        name = self.path.removeprefix("/")
        if not name.isdecimal():
            self.send_error(404)
            return
        time.sleep(self.delay)
        body = render(int(name))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the demo's output is the table."""


class Server(http.server.ThreadingHTTPServer):
    """One thread for each connection, with a backlog for all pages asked for at once."""

    daemon_threads = True
    request_queue_size = 1024


def serve(delay: float) -> None:
    """Serve until standard input is closed or Ctrl-C arrives."""
    Handler.delay = delay
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_port, flush=True)
        threading.Thread(target=_exit_with_parent, daemon=True).start()
        server.serve_forever()


def _exit_with_parent() -> None:
    os.read(0, 1)
    os._exit(0)


if __name__ == "__main__":
    try:
        serve(float(sys.argv[1]))
    except (KeyboardInterrupt, BrokenPipeError):  # the demo went before it had read where we listen
        os._exit(0)
