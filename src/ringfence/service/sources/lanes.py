"""Two lanes from the sources to the writer: what cannot wait goes ahead of what can, and finds room of its own (L10).

Each lane has a bound. Who finds his lane full waits, and reads his source no further meanwhile: what then overflows is
a buffer of the kernel's, which says so. A flood in the slow lane takes no room from the express one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from ringfence.service.sources.source import Batch

EXPRESS_BATCHES: Final = 64
"""Batches with an uncorrected error that wait for the writer: each is a machine check or a poll of all banks."""
SLOW_BATCHES: Final = 2
"""The rest: few, so that what comes while the writer is busy is put together by its source, not queued here."""


class Lanes:
    """A queue of batches for one consumer and any number of sources, all in one event loop."""

    def __init__(self) -> None:
        self._express: deque[Batch] = deque()
        self._slow: deque[Batch] = deque()
        self._changed = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._express) + len(self._slow)

    async def put(self, batch: Batch) -> None:
        """Hand a batch over; waits while its lane is full. An ``Emit``."""
        lane, most = (self._express, EXPRESS_BATCHES) if batch.is_pressing else (self._slow, SLOW_BATCHES)
        async with self._changed:
            await self._changed.wait_for(lambda: len(lane) < most)
            lane.append(batch)
            self._changed.notify_all()

    async def get(self) -> Batch:
        """The next batch: of the express lane as long as there is one there. Waits while both are empty."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._express or self._slow)
            batch = (self._express or self._slow).popleft()
            self._changed.notify_all()
            return batch
