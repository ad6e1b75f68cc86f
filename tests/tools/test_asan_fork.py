"""A child that is forked while other threads allocate, start and end can do so too: on an ASan build that takes
support/asan_fork.c."""

from support import run_script
from support.compiling import compile_library, needs_compiler

CHURN = """
#include <pthread.h>
#include <stdlib.h>

static void *
once(void *unused)
{
    free(malloc(100));
    return unused;
}

void
churn(volatile int *stop)
{
    void *blocks[512];
    while (!*stop) {
        for (int i = 0; i < 512; i++)
            blocks[i] = malloc(16 + i % 32 * 16);
        for (int i = 0; i < 512; i++)
            free(blocks[i]);
        pthread_t thread;
        if (pthread_create(&thread, NULL, once, NULL) == 0)
            pthread_join(thread, NULL);
    }
}
"""


@needs_compiler
def test_children_of_a_process_whose_threads_allocate(tmp_path):
    program = """
        import ctypes, os, signal, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        library, stop = ctypes.CDLL(sys.argv[1]), ctypes.c_int(0)
        threads = [threading.Thread(target=library.churn, args=[ctypes.byref(stop)]) for _ in range(2)]
        for thread in threads:
            thread.start()
        ends = []
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(30)  # one that hangs dies, and its status tells
                blocks = [bytearray(size) for size in range(100, 3000, 7)]
                thread = threading.Thread(target=int)
                thread.start()
                thread.join()
                os._exit(0)
            ends.append(os.waitpid(child, 0)[1])
        stop.value = 1
        for thread in threads:
            thread.join()
        print(ends)
    """
    library = compile_library(tmp_path, "churn", CHURN)
    assert run_script(program, library, limit=120) == f"{[0] * 20}\n"
