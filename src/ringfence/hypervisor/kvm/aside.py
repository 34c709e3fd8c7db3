"""Orders that take a while, each in a thread of its own, so that nobody waits for them: their ends are told later.

What must be known after a kill is in a file of its own before the order begins, and its end is written there; how an
order ended whose file has no end, whoever gave it has to look for (``Trace.is_open``). libvirtd goes on with what it
has begun when its client is gone: with a managed save, and with a migration from host to host.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from ringfence.world.identities import StepId
from ringfence.world.steps import Result, Status

MOST: Final = 64
"""Orders of one lane at a time: a drained host migrates a few at once, the policy says how many."""
KEPT: Final = 256
"""Ends that are remembered, here and on the disk; the oldest go first."""

Work = Callable[[], Result]


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What an order is about, for whoever looks after a kill. ``status`` is empty while it has not ended."""

    what: str
    key: str = ""
    destination: str = ""
    process: tuple[int, int] | None = None
    by_libvirt: bool = True
    status: str = ""
    because: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nobody has written its end."""
        return not self.status

    @property
    def result(self) -> Result:
        """How it ended."""
        return Result(Status(self.status), self.because) if self.status else Result(Status.UNKNOWN)


@dataclass(slots=True)
class Aside:
    """The orders of one life, and the files of all. ``ready`` is a file that becomes readable when one has ended."""

    home: Path
    ready: int = field(default_factory=lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
    _running: dict[StepId, tuple[threading.Event, str]] = field(default_factory=dict)
    _ends: OrderedDict[StepId, Result] = field(default_factory=OrderedDict)
    _to_tell: deque[tuple[StepId, Result]] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in sorted(self.home.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)

    def begin(
        self, order: StepId, work: Work, *, trace: Trace | None = None, wait_s: float = 0.0, lane: str = ""
    ) -> Result:
        """Have it done. Its result if it ends within ``wait_s``, else RUNNING, and its end is told by ``ended``. One
        that runs already is waited for and not begun again. ``lane``: what it may wait for without end (a libvirtd that
        hangs) fills its own lane, and takes no room from the others.
        """
        with self._lock:
            if (running := self._running.get(order)) is not None:
                ended, begins = running[0], False
            elif sum(each == lane for _, each in self._running.values()) >= MOST:
                return Result(Status.REFUSED, f"{MOST} operations run already")
            else:
                ended, begins = threading.Event(), True
                self._running[order] = ended, lane
        if begins:
            if trace is not None:
                self._write(order, trace)
            threading.Thread(target=self._do, args=(order, work, trace), name=f"order {order}", daemon=True).start()
        if wait_s and ended.wait(wait_s):
            with self._lock:
                result = self._ends[order]
                self._to_tell = deque(each for each in self._to_tell if each[0] != order)
            return result
        return Result(Status.RUNNING)

    def _do(self, order: StepId, work: Work, trace: Trace | None) -> None:
        try:
            result = work()
        except Exception as error:
            result = Result(Status.UNKNOWN, f"a fault of Ringfence's own: {error!r}")
        if trace is not None:
            self._write(order, msgspec.structs.replace(trace, status=result.status, because=result.because))
        with self._lock:
            self._ends[order] = result
            while len(self._ends) > KEPT:
                self._ends.popitem(last=False)
            self._to_tell.append((order, result))
            ended, _ = self._running.pop(order)
        ended.set()
        self.wake()

    def wake(self) -> None:
        """Make ``ready`` readable."""
        os.eventfd_write(self.ready, 1)

    def ended(self) -> tuple[tuple[StepId, Result], ...]:
        """What has ended since the last look; ``ready`` is at rest afterwards."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.ready)
        with self._lock:
            found = tuple(self._to_tell)
            self._to_tell.clear()
        return found

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    def known(self, order: StepId) -> Result | Trace | None:
        """What is known of an order: its result, or (of an earlier life) its trace that has no end; None: nothing."""
        with self._lock:
            if order in self._running:
                return Result(Status.RUNNING)
            if order in self._ends:
                return self._ends[order]
        try:
            trace = msgspec.json.decode((self.home / f"{order}.json").read_bytes(), type=Trace)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return trace if trace.is_open else trace.result

    def _write(self, order: StepId, trace: Trace) -> None:
        path = self.home / f"{order}.json"
        making = path.with_suffix(".making")
        try:
            making.write_bytes(msgspec.json.encode(trace) + b"\n")
            making.replace(path)
        except OSError:
            # A full disk stops no operation (Orders of time); after a kill it is UNKNOWN then, and seen by its effect.
            return
