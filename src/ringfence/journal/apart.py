"""A thread for what may hang: one thing at a time, for an owner who does not wait longer than he wants to.

A disk that does not answer holds whoever called ``fdatasync`` for as long as it likes, and neither a signal nor a
timeout ends that (Linux waits for it in TASK_UNINTERRUPTIBLE, ``folio_wait_writeback`` in mm/page-writeback.c). So
whoever must go on has it called by somebody else.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

CLOSE_S: Final = 5.0
"""What is being done at the end gets so long; then it is left to itself."""


class Job(Generic[T]):
    """One thing that is done in the other thread."""

    def __init__(self, what: Callable[[], T]) -> None:
        self.began_s = time.monotonic()
        """When it was handed over, on the monotonic clock."""
        self._what = what
        self._over = threading.Lock()
        self._over.acquire()
        self._is_over = False
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it; for the other thread alone."""
        try:
            self._result.append(self._what())
        except BaseException as error:
            # Whatever it is, it is the owner's.
            self._error = error
        self._over.release()

    def ended(self, wait_s: float = 0.0) -> bool:
        """Whether it has ended, waiting for that so long at most."""
        if not self._is_over:
            self._is_over = self._over.acquire(timeout=wait_s)
        return self._is_over

    def outcome(self) -> T:
        """What came of it, once it has ended. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result[0]


class Apart:
    """The thread. There is room for one job: who begins another one has seen to it that the one before has ended."""

    def __init__(self, name: str) -> None:
        self._wanted: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._job: Job[object] | None = None
        self._thread = threading.Thread(target=self._go_on, name=name, daemon=True)
        self._thread.start()

    def begin(self, what: Callable[[], T]) -> Job[T]:
        """Have something done, beginning now."""
        assert self.job is None  # noqa: S101 (the owner has looked)
        job = Job(what)
        self._job = job  # type: ignore[assignment]  # a job of its own kind each
        self._wanted.put(job.run)
        return job

    @property
    def job(self) -> Job[object] | None:
        """What is being done now."""
        if self._job is not None and self._job.ended():
            self._job = None
        return self._job

    def close(self) -> bool:
        """End the thread; whether it has ended. One that hangs is left to itself, and ends when it can."""
        self._wanted.put(None)
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive()

    def _go_on(self) -> None:
        while (run := self._wanted.get()) is not None:
            run()
