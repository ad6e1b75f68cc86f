"""asyncpg with a PostgreSQL server of its own, which is started where one is installed."""

import asyncio
import getpass
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

import pytest
from support.packages import need

asyncpg = need("asyncpg")


def find(program):
    """The path of one of PostgreSQL's programs; Debian keeps them out of the way."""
    return shutil.which(program) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{program}"))), None)


@pytest.fixture(scope="module")
def server():
    """Keywords to connect with. The server refuses to run as root; then it is somebody else's."""
    if find("initdb") is None or find("postgres") is None:
        pytest.skip("PostgreSQL is not installed")
    user = getpass.getuser() if os.getuid() else "postgres"
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        pytest.skip(f"there is no user {user} to run PostgreSQL as")
    as_user = {} if os.getuid() else {"user": user, "group": pwd.getpwuid(uid).pw_gid, "extra_groups": []}
    folder = tempfile.mkdtemp(prefix="pg-", dir="/tmp")
    os.chown(folder, uid, -1)
    data = os.path.join(folder, "data")
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        subprocess.run(
            [find("initdb"), "-D", data, "-U", user, "-A", "trust", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, env=environment, **as_user,
        )
        words = [find("postgres"), "-D", data, "-k", folder, "-c", "listen_addresses=", "-F"]
        with subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.DEVNULL, **as_user) as process:
            try:
                yield {"host": folder, "user": user, "database": "postgres"}
            finally:
                process.send_signal(signal.SIGINT)  # at once, without waiting for clients
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def connect(server):
    while True:
        try:
            return await asyncpg.connect(**server)
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(0.05)


def test_queries(run, server):
    async def main():
        connection = await connect(server)
        await connection.execute("CREATE TEMPORARY TABLE t (id int PRIMARY KEY, name text, data bytea)")
        rows = [(i, f"row {i}", bytes([i % 256]) * (i * 50)) for i in range(500)]
        await connection.copy_records_to_table("t", records=rows)
        assert [tuple(row) for row in await connection.fetch("SELECT * FROM t ORDER BY id")] == rows
        async with connection.transaction():
            names = [row["name"] async for row in connection.cursor("SELECT name FROM t WHERE id < $1 ORDER BY id", 10)]
        assert names == [row[1] for row in rows[:10]]
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("SELECT pg_sleep(10)", timeout=0.05)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    run(main)


def test_a_pool(run, server):
    async def main():
        await (await connect(server)).close()

        async def work(number):
            async with pool.acquire() as connection:
                return await connection.fetchval("SELECT $1::int * 2", number)

        async with asyncpg.create_pool(**server, min_size=2, max_size=8) as pool:
            assert await asyncio.gather(*(work(i) for i in range(100))) == [2 * i for i in range(100)]

    run(main)


def test_notifications(run, server):
    async def main():
        got = asyncio.Queue()
        listener, sender = await connect(server), await connect(server)
        await listener.add_listener("news", lambda connection, pid, channel, payload: got.put_nowait(payload))
        for i in range(10):
            await sender.execute(f"NOTIFY news, 'item {i}'")
        assert [await got.get() for _ in range(10)] == [f"item {i}" for i in range(10)]
        await listener.close()
        await sender.close()

    run(main)
