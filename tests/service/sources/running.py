"""Running a source for as long as a test needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ringfence.service.sources.source import Batch, Item, Position, Source

PATIENCE_S = 5.0


async def batches(
    source: Source,
    wanted: int,
    since: Position | None = None,
    meanwhile: Callable[[int], Awaitable[None]] | None = None,
) -> list[Batch]:
    """What a source hands over until it has given so many items; ``meanwhile`` is told how many it was so far."""
    queue: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)
    task = asyncio.create_task(source.follow(queue.put, since))
    found: list[Batch] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while sum(len(batch.items) for batch in found) < wanted:
                if meanwhile is not None:
                    await meanwhile(sum(len(batch.items) for batch in found))
                getting = asyncio.create_task(queue.get())
                await asyncio.wait({getting, task}, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    getting.cancel()
                    await task
                found.append(await getting)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return found


def items(found: list[Batch]) -> list[Item]:
    """The items of all batches."""
    return [item for batch in found for item in batch.items]


def last(found: list[Batch]) -> Position:
    """The position of the last batch."""
    position = found[-1].position
    assert position is not None
    return position
