"""pytest-asyncio: which loop a test runs on is said by a hook, in older versions by the policy."""

import subprocess
import sys

import pytest
from support.packages import need
from support.scripts import script_environment

plugin = need("pytest_asyncio.plugin")

HOOK = """
import asyncio
import treadle

def pytest_asyncio_loop_factories(config, item):
    return {"the loop": FACTORY}
"""

POLICY = """
import asyncio
import pytest
import treadle

@pytest.fixture(scope="session")
def event_loop_policy():
    return POLICY()
"""

TESTS = """
import asyncio
import pytest
import pytest_asyncio
import treadle

@pytest_asyncio.fixture
async def server():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "localhost", 0) as server:
        yield server.sockets[0].getsockname()

@pytest.mark.asyncio
@pytest.mark.parametrize("text", [b"one\\n", b"two\\n"])
async def test_echo(server, text):
    assert isinstance(asyncio.get_running_loop(), treadle.EventLoop) is TREADLE
    reader, writer = await asyncio.open_connection(*server[:2])
    writer.write(text)
    assert await reader.readline() == text
    writer.close()
    await writer.wait_closed()

@pytest.mark.asyncio(loop_scope="module")
async def test_shared_loop():
    await asyncio.sleep(0)
    assert isinstance(asyncio.get_running_loop(), treadle.EventLoop) is TREADLE
"""


def run_tests(folder, conftest, loop_name):
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(TESTS.replace("TREADLE", str(loop_name == "treadle")))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=folder, env=script_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(plugin, "PytestAsyncioSpecs"), reason="this pytest-asyncio has no such hook")
def test_hook(loop_name, tmp_path):
    factory = {"stock": "asyncio.SelectorEventLoop", "treadle": "treadle.new_event_loop"}[loop_name]
    run_tests(tmp_path, HOOK.replace("FACTORY", factory), loop_name)


def test_policy(loop_name, tmp_path):
    policy = {"stock": "asyncio.DefaultEventLoopPolicy", "treadle": "treadle.EventLoopPolicy"}[loop_name]
    run_tests(tmp_path, POLICY.replace("POLICY", policy), loop_name)
