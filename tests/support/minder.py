"""A process beside a process of pytest: it ends what the watch in conftest.py does not.

    python minder.py PID FILE LIMIT

The modification time of FILE says when the present phase of a test began, or 0 that there
is none. When a phase has taken more than LIMIT seconds, PID and what descends from it are
killed: the watch is a thread, and may be stuck with its process. When PID has ended,
whatever that may be from, so is who still holds its pipes. A worker of pytest-xdist
talks to its controller by such: a child that it forked, and that hangs, would have the
controller wait for ever for the worker to end.

It is nobody's child, and imports nothing of the tests, so that these do not see it.
"""

import os
import select
import signal
import subprocess
import sys
import time

PAUSE = 2.0  # seconds between looks


def start(pid, file, limit, complaints):
    """Start a minder of `pid`, which complains to the descriptor `complaints`."""
    with open(file, "w"):
        pass
    rest(file)
    command = [sys.executable, "-I", "-S", os.path.abspath(__file__), str(pid), str(file), str(limit)]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    # a shell in between, which ends at once
    subprocess.run(
        ["/bin/sh", "-c", '"$@" </dev/null >/dev/null &', "sh", *command],
        env=environment, stderr=complaints, check=True, start_new_session=True,
    )  # fmt: skip


def begin(file):
    """A phase begins."""
    os.utime(file)


def rest(file):
    """Nothing is to end soon."""
    os.utime(file, (0, 0))


# ---- the process ---------------------------------------------------------------------


def pipes_of(pid):
    """The pipes that a process has open, by descriptor."""
    found = {}
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("pipe:"):
                found[int(fd)] = target
    except OSError:
        pass  # it has ended, or is not ours
    return found


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def ancestors_of(pid):
    found = {pid}
    while pid > 1:
        pid = parent_of(pid)
        found.add(pid)
    return found


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def descendants_of(pid):
    found = [pid]
    parents = {each: parent_of(each) for each in processes()}
    for parent in found:
        found += [each for each in parents if parents[each] == parent and each not in found]
    return found


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


def mind(pid, file, limit):
    """Wait until `pid` has ended, or a phase has taken too long."""
    poll = select.poll()
    poll.register(os.pidfd_open(pid), select.POLLIN)
    state, since = 0, time.monotonic()
    while not poll.poll(PAUSE * 1000):
        now = os.stat(file).st_mtime_ns
        if now != state:
            state, since = now, time.monotonic()
        elif state and time.monotonic() - since > limit:
            print(f"treadle: process {pid} hangs, and is killed", file=sys.stderr, flush=True)
            kill(descendants_of(pid))
            poll.poll()


def main(pid, file, limit):
    worker = "PYTEST_XDIST_WORKER" in os.environ
    pipes = pipes_of(pid) if worker else {}
    # not what everybody's errors go to
    ours = set(pipes.values()) - {pipes.get(1), pipes.get(2), *pipes_of("self").values()}
    spared = {os.getpid(), *ancestors_of(pid)}
    mind(pid, file, limit)
    os.unlink(file)
    if ours:
        kill(each for each in processes() if each not in spared and ours & set(pipes_of(each).values()))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
