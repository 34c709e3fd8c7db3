"""Two lanes from the sources to the writer: what cannot wait goes ahead of what can, and finds room of its own (L10).

Each lane has a bound. Who finds his lane full waits, and reads his source no further meanwhile: what then overflows is
a buffer of the kernel's, which says so. A flood in the slow lane takes no room from the express one. Each lane has
someone of its own who empties it: what is in the express one is before the writer as soon as it has come, behind what
the writer is just doing, and ahead of all else.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringfence.service.sources.source import Batch

EXPRESS_BATCHES: Final = 64
"""Batches with an uncorrected error that wait for the writer: each is a machine check or a poll of all banks."""
SLOW_BATCHES: Final = 1
"""The rest: one is next, so that what comes while the writer is busy is put together by its source, not queued here."""


class Lanes:
    """Two queues of batches for any number of sources, all in one event loop."""

    def __init__(self) -> None:
        self.express: asyncio.Queue[Batch] = asyncio.Queue(EXPRESS_BATCHES)
        self.slow: asyncio.Queue[Batch] = asyncio.Queue(SLOW_BATCHES)

    async def put(self, batch: Batch) -> None:
        """Hand a batch over; waits while its lane is full. An ``Emit``."""
        await (self.express if batch.is_pressing else self.slow).put(batch)
