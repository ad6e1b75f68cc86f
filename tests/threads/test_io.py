"""Waiting for the network in parallel: 20 slow pages from a real server cost little more than one."""

import concurrent.futures
import hashlib
import http.server
import threading
import time
import urllib.request

import pytest

PAGES = 20
DELAY = 0.2  # seconds the server takes for a page
LONG = 60.0


def page(number):
    return f"<html>page {number} {hashlib.sha256(str(number).encode()).hexdigest()}</html>".encode()


class SlowHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(DELAY)
        body = page(int(self.path.strip("/")))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 4 * PAGES
    daemon_threads = False
    block_on_close = True


@pytest.fixture
def base_url():
    with Server(("127.0.0.1", 0), SlowHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=LONG) as response:
        return response.read()


def test_twenty_slow_pages_at_once(impl, make_pool, base_url):
    urls = [f"{base_url}/{number}" for number in range(PAGES)]
    pool = make_pool(PAGES)
    started = time.monotonic()
    bodies = list(pool.map(fetch, urls))
    elapsed = time.monotonic() - started
    assert bodies == [page(number) for number in range(PAGES)]
    # One after the other takes PAGES * DELAY by definition; half of that leaves room for a slow machine.
    assert DELAY <= elapsed < PAGES * DELAY / 2


def test_pages_as_they_complete(impl, make_pool, base_url):
    pool = make_pool(5)
    futures = {pool.submit(fetch, f"{base_url}/{number}"): number for number in range(10)}
    for future in impl.as_completed(futures, LONG):
        assert future.result() == page(futures[future])


def test_a_page_that_fails_is_one_failure(impl, make_pool, base_url):
    pool = make_pool(4)
    futures = [pool.submit(fetch, f"{base_url}/{name}") for name in ("1", "not-a-number", "2")]
    concurrent.futures.wait(futures, LONG)
    assert [future.exception() is None for future in futures] == [True, False, True]
