"""aiofiles: every call is a job of the loop's default executor."""

import asyncio
import os

import pytest
from support.packages import need

aiofiles = need("aiofiles")
import aiofiles.os  # noqa: E402
import aiofiles.tempfile  # noqa: E402


def test_lines(run, tmp_path):
    lines = [f"line {number}\n" for number in range(1000)]

    async def main():
        async with aiofiles.open(tmp_path / "file", "w") as file:
            await file.writelines(lines)
        async with aiofiles.open(tmp_path / "file") as file:
            assert [line async for line in file] == lines
            await file.seek(len(lines[0]))
            assert await file.readline() == lines[1]
            assert await file.readlines() == lines[2:]

    run(main)


def test_many_at_once(run, tmp_path):
    async def work(number):
        data = bytes([number]) * 10_000
        async with aiofiles.open(tmp_path / str(number), "w+b") as file:
            await file.write(data)
            await file.seek(0)
            assert await file.read() == data

    async def main():
        await asyncio.gather(*(work(number) for number in range(100)))
        assert sorted(await aiofiles.os.listdir(tmp_path), key=int) == [str(number) for number in range(100)]

    run(main)


def test_exceptions(run, tmp_path):
    async def main():
        with pytest.raises(FileNotFoundError):
            await aiofiles.open(tmp_path / "missing")
        async with aiofiles.open(tmp_path / "file", "w") as file:
            with pytest.raises(OSError):
                await file.read()

    run(main)


def test_temporary_files(run):
    async def main():
        async with aiofiles.tempfile.TemporaryDirectory() as folder:
            async with aiofiles.open(os.path.join(folder, "file"), "w") as file:
                await file.write("x")
            assert await aiofiles.os.path.getsize(os.path.join(folder, "file")) == 1
        assert not await aiofiles.os.path.exists(folder)

    run(main)
