"""Waiting for the network on threads: 20 slow pages in little more than the time of one.

Shows: submit() and as_completed(), a result that failed among others that did not, and map()
with a timeout. Nothing in here but the import differs from concurrent.futures.

A web server in this process plays the slow site: each page takes 0.2 seconds, one does not exist.
"""

import http.server
import threading
import time
import urllib.error
import urllib.request

from treadle import ThreadPoolExecutor, as_completed

PAGES = 20
DELAY = 0.2  # seconds a page takes


class SlowSite(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(DELAY)
        if self.path == "/13":
            self.send_error(404)
            return
        body = f"page {self.path[1:]}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 2 * PAGES  # all may knock at the same moment


def fetch(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
        return response.read().decode()


def fetch_each_as_it_comes(pool, urls):
    pages, failed = [], []
    futures = {pool.submit(fetch, url): url for url in urls}
    for future in as_completed(futures, timeout=60):
        try:
            pages.append(future.result())
        except urllib.error.HTTPError as error:
            failed.append(f"{futures[future].rpartition('/')[2]}: {error}")
    return pages, failed


def main():
    with Server(("127.0.0.1", 0), SlowSite) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        urls = [f"http://127.0.0.1:{server.server_port}/{number}" for number in range(PAGES)]
        with ThreadPoolExecutor(max_workers=PAGES) as pool:
            started = time.perf_counter()
            pages, failed = fetch_each_as_it_comes(pool, urls)
            took = time.perf_counter() - started
            # in order, and all of them within 60 seconds
            first = list(pool.map(fetch, urls[:5], timeout=60))
        server.shutdown()
    print(f"{len(pages)} pages, {len(failed)} failed ({failed[0]})")
    print(f"{PAGES} pages of {DELAY} s took {took:.2f} s, one after the other {PAGES * DELAY:.2f} s")
    print("in order:", ", ".join(first))


if __name__ == "__main__":
    main()
