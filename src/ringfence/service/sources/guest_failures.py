"""What QEMU says of its guests' poisoned memory, as a source: libvirt's events, QMP's, and QEMU's own lines.

Which of them there are is the backend's affair (``hypervisor.kvm.failures``): here they are followed like any other
source, and joined with what the kernel says of the same page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from ringfence.record.evidence import Record
from ringfence.service.sources.source import (
    Availability,
    Batch,
    Emit,
    Lost,
    Position,
    Presence,
    Resumption,
    emit_in_batches,
)

LOOK_S: Final = 1.0
"""How often logs, which nothing announces, are looked at after something was said: QEMU's line follows its event."""
SOON_S: Final = 10.0
"""For so long after it."""
QUIET_LOOK_S: Final = 5.0
"""How often otherwise: a line without an event is of a libvirt or a QEMU that sends none."""


class Feed(Protocol):
    """Who hears what QEMU says. ``dropped`` counts what was said faster than it was taken."""

    dropped: int

    def listen(self, notify: Callable[[], None]) -> None:
        """Call ``notify``, in any thread, when there is something to take."""

    def take(self) -> tuple[Record, ...]:
        """The records of what was said since the last time; may block for some seconds."""


@dataclass(slots=True)
class GuestFailuresSource:
    """What QEMU says. ``clock``: the wall clock, when it was heard."""

    feed: Feed
    name: str = "guests"
    clock: str = "the wall clock when it was heard: libvirt's and QMP's events have none that is kept"
    resumption: Resumption = Resumption.NONE

    def probe(self) -> Availability:
        """As ``Source.probe``: it is there with the backend."""
        return Availability(Presence.PRESENT, "libvirt's and QEMU's own words on their guests' memory")

    async def follow(self, emit: Emit, since: Position | None = None) -> None:  # noqa: ARG002 (nothing keeps it)
        """What is said from now on."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:
            with suppress(RuntimeError):  # the loop is closed: it is followed anew
                loop.call_soon_threadsafe(heard.set)

        self.feed.listen(notify)
        dropped, said_s = self.feed.dropped, loop.time()
        while True:
            records = await asyncio.to_thread(self.feed.take)
            if records:
                said_s = loop.time()
                await emit_in_batches(emit, self.name, list(records), None)
            if self.feed.dropped > dropped:
                lost = self.feed.dropped - dropped
                dropped += lost
                why = "QEMU said more than was taken in time"
                await emit(Batch(self.name, (Lost(self.name, lost, True, "memory failures", why),)))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if loop.time() - said_s < SOON_S else QUIET_LOOK_S):
                    await heard.wait()
            heard.clear()
