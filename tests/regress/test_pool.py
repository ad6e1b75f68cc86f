"""A pool whose __init__() is called twice."""

import threading

import treadle


def test_init_again_keeps_the_workers_and_their_jobs():
    gate = threading.Event()
    pool = treadle.ThreadPoolExecutor(1)
    waiting = pool.submit(gate.wait, 60)
    queued = pool.submit(int, "4")
    threads = set(threading.enumerate())
    pool.__init__(2)
    assert pool._max_workers == 2
    assert pool.submit(int, "5").result(60) == 5
    gate.set()
    assert waiting.result(60) and queued.result(60) == 4
    pool.shutdown()
    for thread in threads - {threading.current_thread()}:
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(60)
            assert not thread.is_alive()


def test_init_again_opens_a_closed_pool():
    pool = treadle.ThreadPoolExecutor(1)
    pool.submit(int).result(60)
    pool.shutdown()
    pool.__init__(1)
    with pool:
        assert pool.submit(int, "6").result(60) == 6
