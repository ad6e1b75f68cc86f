"""The extension in several interpreters of one process, and loaded twice in one."""

from support import run_script
from support.interpreters import in_interpreters, needs_interpreters

USE = """
import treadle
with treadle.ThreadPoolExecutor(2) as pool:
    assert sum(pool.map(abs, range(1000))) == 499500
    futures = [pool.submit(pow, n, 2) for n in range(100)]
    assert len(treadle.wait(futures, 30).done) == 100
    assert sorted(f.result() for f in treadle.as_completed(futures, 30)) == [n * n for n in range(100)]
"""

@needs_interpreters
def test_in_a_subinterpreter(native):
    in_interpreters("    run(USE)\n    exec(USE)\n    run(USE)\n    print('end')", USE=USE)


@needs_interpreters
def test_in_several_subinterpreters_at_once(native):
    body = """
    threads = [threading.Thread(target=run, args=(USE,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    exec(USE)
    for thread in threads:
        thread.join()
    print("end")
"""
    in_interpreters(body, USE=USE)


@needs_interpreters
def test_subinterpreter_that_ends_with_a_pool_in_use(native):
    source = "import treadle, os; pool = treadle.ThreadPoolExecutor(2); [pool.submit(os.write, 1, b'.') for _ in range(5)]"
    assert in_interpreters("    run(source)\n    print('end')", source=source).replace("\n", "") == ".....end"


def test_imported_twice(native):
    source = """
        import concurrent.futures, sys
        import treadle as first
        for name in [name for name in sys.modules if name.startswith("treadle")]:
            del sys.modules[name]
        import treadle as second
        assert first is not second and first.Future is not second.Future
        for module, other in ((first, second), (second, first)):
            with module.ThreadPoolExecutor(1) as pool:
                future = pool.submit(pow, 2, 3)
                assert future.result(30) == 8
                foreign = other.Future()
                assert other.wait([future, foreign], 0).done == {future}
                assert list(other.as_completed([future])) == [future]
                assert concurrent.futures.wait([future], 30).done == {future}
        print("end")
    """
    assert run_script(source).strip() == "end"
