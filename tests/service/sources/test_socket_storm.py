"""A connection that sends ``struct mce``: a storm is told as one, an error within it ahead of it, all of it exactly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ringfence.record.evidence import Record, Unrecognised
from ringfence.record.repeats import Repeats
from ringfence.service.sources.socket_source import SOCKET_LULL_S, SocketSource
from ringfence.service.sources.source import Batch
from tests.service.sources.structs import mce, uncorrected

PATIENCE_S = 10.0


def reports(batches: list[Batch]) -> int:
    return sum(item.reports if isinstance(item, Repeats) else 1 for batch in batches for item in batch.items)


def followed(
    path: Path, *parts: bytes, wanted: int, slow: Callable[[Batch], Awaitable[None]] | None = None
) -> list[Batch]:
    """What the source hands over of what one connection sends, until so many reports have come."""

    async def run() -> list[Batch]:
        found: list[Batch] = []
        enough = asyncio.Event()

        async def emit(batch: Batch) -> None:
            if slow is not None:
                await slow(batch)
            found.append(batch)
            if reports(found) >= wanted:
                enough.set()

        task = asyncio.create_task(SocketSource(path).follow(emit))
        async with asyncio.timeout(PATIENCE_S):
            while not path.exists():
                await asyncio.sleep(0.002)
            _, writer = await asyncio.open_unix_connection(path)
            for part in parts:
                writer.write(part)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            await enough.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return found

    return asyncio.run(run())


def test_every_report_of_a_storm_is_told_and_none_twice(tmp_path: Path) -> None:
    storm = b"".join(mce(at, addr=0x2_0000_0000 + at * 64).pack() for at in range(20_000))
    # Cut where nothing ends.
    parts = [storm[at : at + 100_001] for at in range(0, len(storm), 100_001)]
    batches = followed(tmp_path / "s", b"structs 128\n", *parts, wanted=20_000)
    addresses = [
        address
        for batch in batches
        for item in batch.items
        for address in (item.addresses if isinstance(item, Repeats) else [item.registers.addr])  # type: ignore[union-attr]  # records, nothing else
    ]
    assert addresses == [0x2_0000_0000 + at * 64 for at in range(20_000)]


def test_an_uncorrected_error_within_a_storm_waits_for_none_of_it(tmp_path: Path) -> None:
    held = mce().pack() * 30_000
    handed: list[str] = []

    async def writer_is_busy(batch: Batch) -> None:
        handed.append("error" if batch.is_pressing else "storm")
        if not batch.is_pressing:
            # Until the error has come: if it waited for this, it never would.
            while "error" not in handed:
                await asyncio.sleep(0.002)

    parts = (b"structs 128\n", held, uncorrected().pack())
    batches = followed(tmp_path / "s", *parts, wanted=30_001, slow=writer_is_busy)
    assert reports(batches) == 30_001
    assert handed.count("error") == 1


def test_a_sender_is_held_up_while_there_is_no_room(tmp_path: Path) -> None:
    """So that memory is bounded: a writer that never has time is sent no more than is held, and what is in buffers."""
    path, most = tmp_path / "s", 400_000

    async def run() -> int:
        async def never(_: Batch) -> None:
            await asyncio.Event().wait()

        task = asyncio.create_task(SocketSource(path).follow(never))
        while not path.exists():
            await asyncio.sleep(0.002)
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b"structs 128\n")
        chunk, sent = mce().pack() * 1000, 0
        try:
            while sent < most:
                writer.write(chunk)
                async with asyncio.timeout(0.5):
                    await writer.drain()
                sent += 1000
        except TimeoutError:
            pass
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return sent

    assert 65_536 <= asyncio.run(run()) < 100_000


def test_the_beginning_of_a_report_that_never_ends_is_shown(tmp_path: Path) -> None:
    batches = followed(tmp_path / "s", b"structs 128\n" + mce().pack() + b"half", wanted=2)
    items = [item for batch in batches for item in batch.items]
    assert [item.raw for item in items if isinstance(item, Record)] == [mce().pack()]
    (rest,) = (item for item in items if isinstance(item, Unrecognised))
    assert rest.raw == b"half"


@pytest.mark.parametrize("length", [b"", b"100", b"-128", b"x"])
def test_a_length_that_no_kernel_has_is_said_so(tmp_path: Path, length: bytes) -> None:
    (batch,) = followed(tmp_path / "s", b"structs " + length + b"\n", wanted=1)
    (item,) = batch.items
    assert isinstance(item, Unrecognised) and "structs LENGTH" in item.why


@pytest.mark.parametrize("length", [88, 116, 128])
def test_each_kernels_form_is_taken(tmp_path: Path, length: int) -> None:
    storm = mce().pack(128)[:length] * 10
    batches = followed(tmp_path / "s", b"structs %d\n" % length + storm, wanted=10)
    assert reports(batches) == 10


def test_no_record_of_a_log_is_torn_where_its_reader_is_busier_than_a_lull(tmp_path: Path) -> None:
    lines = (
        "[{at:5}.000000] mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 7: 8c00004000010090\n"
        "[{at:5}.000001] mce: [Hardware Error]: TSC {at:x} ADDR 12345678c0 MISC 86 \n"
        "[{at:5}.000002] mce: [Hardware Error]: PROCESSOR 0:50654 TIME 1700000000 SOCKET 0 APIC 2 microcode 2006b06\n"
    )
    log = "".join(lines.format(at=at) for at in range(3_000)).encode()

    async def busy(_: Batch) -> None:
        time.sleep(2 * SOCKET_LULL_S)  # as decoding does: nothing else runs in this thread meanwhile

    batches = followed(tmp_path / "s", b"lines\n" + log, wanted=3_000, slow=busy)
    items = [item for batch in batches for item in batch.items]
    assert [item.cpuid if isinstance(item, Record) else item for item in items] == [0x50654] * 3_000
