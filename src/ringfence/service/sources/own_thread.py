"""A source in a thread of its own: one that blocks in a read blocks nobody else.

A read of a file can hang for ever (a network file system that is gone, a device whose driver is stuck), and a hung
read cannot be cancelled. So each source is followed in a thread with an event loop of its own, and whoever started it
looks at its ``beat_s``: one that does not move is stuck, is said to be so, and is left behind at the end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from ringfence.service.sources.source import Availability, Batch, Emit, Position, Presence, Source

BEAT_S: Final = 3.0
"""How often a source that is not stuck says so: a fifth of what makes one that says nothing stuck (``intake``)."""


class FollowedApart:
    """A source while it is followed in its own thread. ``emit`` is called in the loop that ``start`` was called in."""

    def __init__(self, source: Source, emit: Emit, since: Position | None) -> None:
        self._source, self._emit, self._since = source, emit, since
        self._home = asyncio.get_running_loop()
        self._ended: Future[None] = Future()
        self._there: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.began_s = self.beat_s = time.monotonic()
        """When it began, and when it last showed a sign of life, on the monotonic clock."""
        self.found: Availability | None = None
        """What its probe said; None while it is being asked."""

    @property
    def is_over(self) -> bool:
        """Whether it is followed no more."""
        return self._ended.done()

    async def follow(self) -> None:
        """Follow until cancelled, or until the source cannot be read (``found`` says why). Raises what it raises."""
        thread = threading.Thread(target=self._run, name=f"source {self._source.name}", daemon=True)
        thread.start()
        try:
            await asyncio.wrap_future(self._ended)
        finally:
            self._stop()

    def _stop(self) -> None:
        there, task = self._there, self._task
        if there is not None and task is not None:
            with suppress(RuntimeError):  # its loop has ended
                there.call_soon_threadsafe(task.cancel)

    # --- in its own thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            pass
        except BaseException as caught:
            # Whatever it is: who follows it has to hear of it.
            error = caught
        with suppress(RuntimeError):  # the home loop is closed: nobody listens any more
            self._home.call_soon_threadsafe(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        if not self._ended.set_running_or_notify_cancel():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    async def _live(self) -> None:
        self._there, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._ended.cancelled():
            return
        beating = asyncio.create_task(self._beat())
        try:
            self.found = self._source.probe()
            if self.found.presence is Presence.PRESENT:
                await self._source.follow(self._hand_over, self._since)
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            self.beat_s = time.monotonic()
            await asyncio.sleep(BEAT_S)

    async def _hand_over(self, batch: Batch) -> None:
        taken: Future[None] = Future()
        self._home.call_soon_threadsafe(self._take, batch, taken)
        await asyncio.wrap_future(taken)

    # --- at home -----------------------------------------------------------------------------------------------------

    def _take(self, batch: Batch, taken: Future[None]) -> None:
        task = asyncio.ensure_future(self._emit(batch))

        def settle(_: asyncio.Future[None]) -> None:
            if not taken.set_running_or_notify_cancel():
                return
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is None:
                taken.set_result(None)
            else:
                taken.set_exception(error)

        task.add_done_callback(settle)
        taken.add_done_callback(lambda one: self._home.call_soon_threadsafe(task.cancel) if one.cancelled() else None)
