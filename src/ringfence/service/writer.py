"""The one thread that owns journal, host and loop. Everybody else hands it what is to be done, and gets a future.

Why a thread of its own, and only one: docs/decisions/0008-one-writer-thread.md.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from msgspec import structs

from ringfence.decision.policy import Policy
from ringfence.errors import JournalDamagedError, JournalError
from ringfence.hypervisor.port import Hypervisor
from ringfence.journal import events as ev
from ringfence.journal.lives import Life, lives
from ringfence.journal.recall import remember
from ringfence.journal.salvage import doubt
from ringfence.journal.store import Journal
from ringfence.service import control_protocol as say
from ringfence.service.loop import Loop
from ringfence.service.measures import Measures
from ringfence.service.plugins import Plugin
from ringfence.service.policy_source import Loaded
from ringfence.world.identities import DOM0, DomainId

T = TypeVar("T")

INBOX: Final = 64
"""Questions and instructions that wait for the writer: twice the clients that there can be, each of which waits for its
answer before it asks again. Whoever finds it full is told that the service is busy."""
SLICES_AT_ONCE: Final = 25
"""Slices of time that are caught up before whoever waits in the inbox is heard again."""
MOST_MEASURED: Final = 1_000
"""Turns and requests that wait for the disk and are measured once it answers; of more, the newest."""
ANSWER_S: Final = 2.0
"""The answer to an instruction that the disk has not taken yet waits for it so long at most, and then says so: the disk
may be full for days. Sources are not held up by it: each is told whether what it handed in is durable."""
LEAST_WAIT_S: Final = 0.001
"""What is due and cannot be done yet is not asked for more often than this."""


class World(Protocol):
    """A host as the process has it: time, and whether there is a host at all just now."""

    @property
    def host(self) -> Hypervisor:
        """The port."""
        ...

    @property
    def reset_ms(self) -> int | None:
        """The host has halted, and comes again at this time of its clock; None while it runs."""
        ...

    def wait_s(self, wake_ms: int | None) -> float:
        """How long nothing is due, seconds; ``wake_ms`` is when Dom0's seat has something to do at the latest."""
        ...

    def go_on(self) -> bool:
        """Let what is due happen, as much of it as Dom0 may sleep through; whether there is more."""
        ...

    def reload(self, policy: Policy) -> None:
        """A seat in the hypervisor goes by this policy from now on."""
        ...

    def close(self) -> None:
        """The service ends: no thread of this world's outlives it, but one that hangs in the kernel."""
        ...


@dataclass(slots=True)
class Desk:
    """What the writer has before it: whoever hands it something to do gets this, in the writer's thread."""

    loop: Loop
    world: World
    journal: Journal
    policy: Loaded
    lives: list[Life] = field(default_factory=list)
    unkept: int = 0
    """Events that found no room at all before the loop began anew: the kernel's log has them."""

    @property
    def written(self) -> int:
        """Events that were written in this life and before, those that wait for the disk among them."""
        return self.journal.last + self.loop.unwritten[0]

    def names(self) -> dict[DomainId, str]:
        """The names of the domains that are there now, or were in this boot."""
        known = {number: each.name for number, each in self.loop.state.domains.items()}
        present = {each.id: each.name for each in self.world.host.situation(None).domains}
        return {DOM0: "Domain-0", **known, **present}

    def load(self, policy: Loaded, who: str) -> None:
        """A policy applies from now on, by the word of ``who``."""
        self.world.reload(policy.policy)
        self.loop.load_policy(policy.policy, policy.digest, policy.text, who)
        self.policy = policy

    def configured(self, event: ev.ConfigurationLoaded) -> None:
        """A configuration applies from now on."""
        self.loop.note(event)


class BusyError(Exception):
    """The writer's inbox is full, or the writer has ended."""


@dataclass(slots=True)
class _Wanted(Generic[T]):
    what: Callable[[Desk], T]
    answer: Future[T]
    asked_s: float = field(default_factory=time.monotonic)
    _found: list[T] = field(default_factory=list)

    def run(self, desk: Desk) -> bool:
        """Do it; whether somebody waits to be told what came of it."""
        if not self.answer.set_running_or_notify_cancel():
            return False
        try:
            self._found.append(self.what(desk))
        except Exception as error:
            self.answer.set_exception(error)
            raise
        return True

    @property
    def is_promise(self) -> bool:
        """Whether what came of it is told to somebody who gave an instruction, and may forget it now."""
        return isinstance(self._found[0], say.Done)

    def tell(self, *, is_durable: bool = True) -> None:
        """Tell what came of it. Whoever changed something is told if that is not on the disk."""
        (found,) = self._found
        self.answer.set_result(found if is_durable else _not_durable(found))


def _not_durable(found: T) -> T:
    """An answer that says that the disk has not got what it tells of."""
    if not isinstance(found, say.Done):
        return found
    said = f"{found.because}; " if found.because else ""
    return structs.replace(found, because=f"{said}it is not on the disk yet: `ringfence status` says why")


class Writer(threading.Thread):
    """Runs from ``start`` until ``stop``, or until journal or host fail.

    ``world`` makes the world for the boot of a number. ``told`` is called with the number of the last event when there
    are new ones, the first time as soon as the loop has begun; ``ended`` at the very end, with what went wrong or None.
    Both are called in this thread, as is ``opening``, which opens the journal. ``pages_left_to``: as
    ``Situation.pages_left_to``.
    """

    def __init__(  # noqa: PLR0913 (what it owns, and whom it tells)
        self,
        path: Path,
        world: Callable[[int], World],
        policy: Loaded,
        *,
        plugins: Mapping[str, Plugin],
        told: Callable[[int], None],
        ended: Callable[[BaseException | None], None],
        measures: Measures | None = None,
        opening: Callable[[Path], Journal] = Journal,
        pages_left_to: str = "",
    ) -> None:
        super().__init__(name="writer", daemon=True)
        self._path, self._make_world, self._policy, self._plugins = path, world, policy, plugins
        self._told, self._ended, self._measures = told, ended, measures or Measures()
        self._opening, self._began, self._pages_left_to = opening, False, pages_left_to
        self._inbox: queue.Queue[_Wanted[object] | None] = queue.Queue(INBOX)
        self._measured: deque[tuple[float, float | None]] = deque(maxlen=MOST_MEASURED)
        self._untold: deque[_Wanted[object]] = deque()
        self._because: str | None = None
        self._gone = threading.Event()
        self.beat_s = time.monotonic()
        """When it last showed a sign of life, on the monotonic clock."""

    # --- for other threads -------------------------------------------------------------------------------------------

    def ask(self, what: Callable[[Desk], T]) -> Future[T]:
        """Have something done in the writer's thread, between two turns. Raises BusyError.

        What it raises comes back by the future, and ends the writer as well: it must not raise for what a client says.
        """
        answer: Future[T] = Future()
        if self._gone.is_set():
            raise BusyError
        try:
            self._inbox.put_nowait(_Wanted(what, answer))  # type: ignore[arg-type]  # a future of its own kind each
        except queue.Full:
            raise BusyError from None
        if self._gone.is_set():
            answer.cancel()
        return answer

    @property
    def waiting(self) -> int:
        """How many wait in the inbox now."""
        return self._inbox.qsize()

    def wake(self) -> None:
        """Something has come: look at once. Whoever is about to look is not told again: who asks needs the room."""
        if self._inbox.empty():
            with suppress(queue.Full):
                self._inbox.put_nowait(None)

    def stop(self, because: str) -> None:
        """End in order, soon: the loop's end is journaled."""
        self._because = self._because or because
        with suppress(queue.Full):  # then it is awake
            self._inbox.put_nowait(None)

    # --- in its own thread -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The thread."""
        error: BaseException | None = None
        try:
            self._live_on()
        except BaseException as caught:
            # Whatever it is: the process has to hear of it, and ends.
            error = caught
        self._gone.set()
        while self._untold:
            self._untold.popleft().tell(is_durable=False)
        while not self._inbox.empty():
            wanted = self._inbox.get_nowait()
            if wanted is not None:
                wanted.answer.cancel()
        self._ended(error)

    def _live_on(self) -> None:
        """A life, from the journal. One that is found damaged is looked through when it is opened the next time."""
        try:
            with self._opening(self._path) as journal:
                self._live(journal)
        except JournalDamagedError:
            doubt(self._path)
            if self._began:
                raise  # its state is of the damaged journal: the next life begins with what is salvaged
            with self._opening(self._path) as journal:
                self._live(journal)

    def _live(self, journal: Journal) -> None:
        known = lives(journal)
        boot = 1 + max((int(each.boot) for each in known if each.boot.isdecimal()), default=0)
        with closing(self._make_world(boot)) as world:
            self._live_in(world, journal, known)

    def _live_in(self, world: World, journal: Journal, known: list[Life]) -> None:
        desk = Desk(self._begin(journal, world, self._policy, known), world, journal, self._policy, known)
        self._began = True
        last = -1
        while self._because is None:
            if journal.last != last:
                last = journal.last
                self._told(last)
            self.beat_s = time.monotonic()
            self._hear(desk)
            self._pass_time(desk)
            self._tell(desk)
        desk.loop.stop(self._because)
        self._tell(desk)
        self._told(journal.last)
        if not any(desk.loop.unwritten):
            with suppress(JournalError):  # the next start folds a few events more
                remember(journal, desk.loop.state)

    def _begin(
        self,
        journal: Journal,
        world: World,
        policy: Loaded,
        lives: list[Life],
        waiting: Sequence[ev.Event] = (),
    ) -> Loop:
        wall_ms = time.time_ns() // 1_000_000
        epoch_ms = wall_ms - world.host.now_ms()
        lives.append(Life(journal.last + len(waiting) + 1, str(world.host.boot), epoch_ms))
        loop = Loop(
            world.host, journal, policy.policy, plugins=self._plugins, wall_ms=wall_ms,
            pages_left_to=self._pages_left_to, waiting=waiting,
        )  # fmt: skip
        loop.load_policy(policy.policy, policy.digest, policy.text)
        return loop

    def _begin_anew(self, desk: Desk) -> None:
        """The host was reset, or there is room again after events found none: go on with what the journal has.

        What waits for room on the disk was taken from its source: it goes with the writer and comes before all else.
        What the memory had no room for either is counted.
        """
        _, unkept = desk.loop.unwritten
        desk.unkept += unkept
        desk.loop = self._begin(desk.journal, desk.world, desk.policy, desk.lives, desk.loop.waiting)
        if not unkept:
            return
        why = "the disk had no room for them, nor the memory: they were acted upon, and are in the kernel's log"
        desk.loop.note(
            ev.Lost(
                at_ms=desk.world.host.now_ms(), count=unkept, urgent=False, source="journal", unit="events", why=why
            )
        )

    def _hear(self, desk: Desk) -> None:
        """Wait until something is due or wanted, and do what is wanted."""
        wake_ms = desk.loop.wake_ms if desk.world.reset_ms is None else None
        try:
            for heard in range(INBOX):
                # What is taken out is done: nobody else knows of it any more.
                wait_s = max(LEAST_WAIT_S, desk.world.wait_s(wake_ms)) if not heard else 0
                wanted = self._inbox.get(block=not heard, timeout=wait_s)
                if wanted is not None:
                    written, unkept = desk.written, desk.loop.unwritten[1]
                    if wanted.run(desk):
                        has_changed = desk.written > written or desk.loop.unwritten[1] > unkept
                        if has_changed and wanted.is_promise and any(desk.loop.unwritten):
                            self._untold.append(wanted)
                        else:
                            wanted.tell()
                    self._measure(desk, wanted.asked_s, written)
        except queue.Empty:
            pass

    def _tell(self, desk: Desk) -> None:
        """Give the answers that waited until what they tell of is on the disk, or waited long enough."""
        latest_s = time.monotonic() - ANSWER_S
        while self._untold:
            is_durable = not any(desk.loop.unwritten)
            if not is_durable and self._untold[0].asked_s > latest_s:
                break
            self._untold.popleft().tell(is_durable=is_durable)

    def _pass_time(self, desk: Desk) -> None:
        for _ in range(SLICES_AT_ONCE):
            more = desk.world.go_on()
            if desk.world.reset_ms is None:
                if str(desk.world.host.boot) != desk.lives[-1].boot or desk.loop.is_behind:
                    self._begin_anew(desk)
                self._turn(desk)
            if not more or self._because is not None:
                break
        if desk.world.reset_ms is None:
            desk.loop.catch_up()

    def _turn(self, desk: Desk) -> None:
        began_s, written = time.monotonic(), desk.written
        desk.loop.turn()
        self._measure(desk, began_s, written, time.monotonic() - began_s)

    def _measure(self, desk: Desk, since_s: float, written: int, turn_s: float | None = None) -> None:
        """Note how long it took until what was written since then is durable, and how long the turn that wrote it took.
        What waits for the disk is noted once nothing waits.
        """
        if desk.written > written:
            self._measured.append((since_s, turn_s))
        if desk.loop.unwritten[0]:
            return
        now_s = time.monotonic()
        while self._measured:
            since_s, turn_s = self._measured.popleft()
            self._measures.latency.took(now_s - since_s)
            if turn_s is not None:
                self._measures.turn.took(turn_s)
