"""What Dom0's seat knows and has ordered: the journal, its state, and orders written before and after.

Everything else in the service writes through here, so that state and journal cannot part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final

from ringfence.action.carry import again, carry_out
from ringfence.errors import FormatError, NotWrittenError, SlowDiskError
from ringfence.hypervisor.port import Hypervisor
from ringfence.journal import events as ev
from ringfence.journal.recall import recall
from ringfence.journal.snapshot import SHAPE, encode
from ringfence.journal.state import apply
from ringfence.journal.store import Journal
from ringfence.service.kernel_log import to_kernel_log
from ringfence.world.domain import Domain
from ringfence.world.identities import OWN_CASES, CaseId, StepId
from ringfence.world.steps import Order, Result, Status, Step

ROOM_FOR_ALL: Final = 10_000
"""Events that wait in memory for room on the disk: an hour of a bad day. From then on nothing that can wait is taken:
its source is held up, and says by itself what it could not keep (L10)."""

ROOM_WHILE_SLOW: Final = 1_000
"""The same while the disk has not answered yet: it may do so any moment. A storm of 100,000 errors a second fills it in
some seconds, with some 20 MB."""

MOST_UNWRITTEN: Final = 2 * ROOM_FOR_ALL
"""The rest is for what cannot wait: some thousand uncorrected errors with all that is done about them, in 40 MB. What
comes then is acted upon as well, and has the kernel's log only."""

WRITTEN_AT_ONCE: Final = 256
"""Events that waited, in one transaction at a time: half a megabyte of evidence. All of them at one go would hold up
for a second what must be acted upon."""

LOOK_MS: Final = 10
"""Between two looks whether a disk that is slow has answered, if nothing else is to be written."""

LAST_WAIT_S: Final = 5.0
"""So long a disk that is slow is waited for at the end of this life."""

RETRY_MS: Final = 500
"""Between two tries to write what waits: each try encodes all of it anew, and acting must not wait for that."""

NOTHING_ORDERED: Final = "dry run: nothing is ordered"
"""What becomes of every order in a dry run."""

LastResort = Callable[[tuple[str, ...]], object]
"""Where events go, one line each, that found no room on the disk."""


class Ledger:
    """The journal of one life of this process, with the host that it is about.

    Acting does not wait for a disk that is full, fails or is read-only: events count all the same, go to the last
    resort (the kernel's log), and are written once it takes them. Until then nothing is acknowledged (``is_durable``).
    If even the memory for them was too small, this ledger ends then (``is_behind``), and what came after is taken up
    by the next one as after a kill (law L9).
    """

    def __init__(
        self,
        host: Hypervisor,
        journal: Journal,
        last_resort: LastResort = to_kernel_log,
        *,
        waiting: Sequence[ev.Event] = (),
        dry_run: bool = False,
    ) -> None:
        """``waiting``: what an earlier ledger of this process could not write; it comes before all that is new.

        ``dry_run``: each order is written down, and refused here: none reaches the host, whoever gives it.
        """
        self.host, self.journal = host, journal
        self.state = recall(journal).state
        for event in waiting:
            apply(self.state, event)
        self.dry_run = dry_run
        self._last_resort = last_resort
        self._unwritten: deque[ev.Event] = deque(waiting)
        self._held: list[ev.Event] = []
        self._depth = 0
        self._retry_ms = 0
        self._noted: tuple[Domain, ...] = ()
        """What is written down of domains already, by this life."""
        self.unkept = 0
        """Events that are in the kernel's log only."""
        self.fails = False
        """Whether the disk took nothing when it was last asked to."""
        self._is_slow = False
        """Whether it did not answer in time."""

    def write(self, *events: ev.Event) -> None:
        """Make events durable, and let them count; where there is no room, let them count all the same.

        Within ``together`` they are durable a little later, but always before anything is done because of them.
        """
        self._held.extend(events)
        is_intent = ev.Intended in map(type, events)
        if not self._depth or is_intent or len(self._held) >= WRITTEN_AT_ONCE:
            self.settle()
        for event in events:
            apply(self.state, event)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written within is one transaction as far as it can be: each waits for the disk.

        It ends before each deed: an intent is on the disk, with all before it, before it is carried out, and whoever
        does something else (answers, acknowledges, waits for somebody) calls ``settle`` or asks ``is_durable`` first.
        An exception leaves what is held unwritten, as a kill at that point would: this life is over then.
        """
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth:
            self.settle()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is held."""
        return not self._held

    def settle(self) -> None:
        """Make durable what is held, or have it wait for room."""
        if not (events := self._held):
            return
        if not self._written(events):
            if self.fails or (self._is_slow and any(map(_cannot_wait, events))):
                self._last_resort(tuple(ev.to_text(event) for event in events))
            # What the disk was given is its first answer's, however much it is.
            room = max(0, MOST_UNWRITTEN - len(self._unwritten)) if self._unwritten else len(events)
            self._unwritten.extend(events[:room])
            self.unkept += len(events[room:])
        self._held = []

    def _written(self, events: Sequence[ev.Event]) -> bool:
        """Whether all that waits, and then these events, are on the disk now."""
        if not self._caught_up() or (self._unwritten and self.now_ms < self._retry_ms):
            return False
        self._is_slow = False
        try:
            some = tuple(islice(self._unwritten, WRITTEN_AT_ONCE))
            if len(some) == len(self._unwritten) and len(some) + len(events) <= WRITTEN_AT_ONCE:
                self.journal.append(*some, *events)
                self.fails = False
                self._unwritten.clear()
                return True
            if some:
                self.journal.append(*some)
                self.fails = False
                for _ in some:
                    self._unwritten.popleft()
            if self._unwritten:
                self._retry_ms = self.now_ms
                return False
            self.journal.append(*events)
        except SlowDiskError:
            self._is_slow, self._retry_ms = True, self.now_ms + LOOK_MS
            return False
        except NotWrittenError:
            self.fails, self._retry_ms = True, self.now_ms + RETRY_MS
            return False
        return True

    def _caught_up(self, wait_s: float = 0.0) -> bool:
        """Whether the disk has answered for what it was given: it has it, or that is tried again."""
        if not self.journal.late:
            return True
        written = self.journal.catch_up(wait_s)
        self._is_slow = written is None
        if written is None:
            self._retry_ms = self.now_ms + LOOK_MS
            return False
        for _ in range(written):
            self._unwritten.popleft()
        self.fails = not written
        self._retry_ms = self.now_ms + (RETRY_MS if self.fails else 0)
        return not self.fails

    def end(self) -> None:
        """The last call in this life: what waits is written as far as there is room. A disk that is slow is waited for
        a little; what it has not answered for then goes to the last resort.
        """
        for _ in range(1 + self.unwritten):
            self._retry_ms = self.now_ms
            if self.is_durable or not self._caught_up(LAST_WAIT_S) or self.fails:
                break
        if self.journal.late:
            self._last_resort(tuple(map(ev.to_text, self._unwritten)))

    @property
    def has_room(self) -> bool:
        """Whether what can wait is to be taken; what cannot always is."""
        return len(self._unwritten) < (ROOM_FOR_ALL if not self.journal.late else ROOM_WHILE_SLOW)

    @property
    def is_behind(self) -> bool:
        """Whether the journal lacks events that count here, and has room again: it is the truth, and one must begin
        anew with what it has.
        """
        return bool(self.unkept) and not self._unwritten

    @property
    def unwritten(self) -> int:
        """Events that wait for room on the disk."""
        return len(self._unwritten)

    @property
    def waiting(self) -> tuple[ev.Event, ...]:
        """The events that wait for room on the disk, the oldest first."""
        return tuple(self._unwritten)

    @property
    def wake_ms(self) -> int | None:
        """When what waits for room is to be tried again, on the host's clock; None if nothing waits."""
        return self._retry_ms if self._unwritten else None

    @property
    def is_durable(self) -> bool:
        """Whether everything that was written is on the disk; what is not is tried again first."""
        self.settle()
        if self._unwritten and self._written(()):
            self.journal.refill()
        return not self._unwritten and not self.unkept

    def remember(self) -> Iterator[None]:
        """Put a snapshot of the state into the journal, a part at each step, so that the next start is a short one.

        Nothing is put in while events wait for room: they count in the state, and are not in the journal yet. Raises
        ``JournalError`` if the disk fails or is full.
        """
        if not self._unwritten and not self.unkept:
            with suppress(FormatError):  # there is none of such a state: all events are folded
                data = encode(self.state)
                last = self.journal.last
                yield from self.journal.put_snapshot(last, self.journal.crc_at(last), SHAPE, data)

    @property
    def now_ms(self) -> int:
        """The host's clock."""
        return self.host.now_ms()

    def own_case(self) -> CaseId:
        """A number for a case of Dom0's own."""
        return CaseId(max(self.state.last_case, OWN_CASES) + 1)

    # --- orders

    def execute(self, case: CaseId, step: Step, row: str, dimm: str | None = None) -> tuple[StepId, Result]:
        """Write the intent, carry out, write the result; tries again as often as the step's kind allows."""
        return self.attempts(case, Order(self.state.next_order, step, case), row, 1, dimm)

    def attempts(
        self, case: CaseId, order: Order, row: str, attempt: int, dimm: str | None = None
    ) -> tuple[StepId, Result]:
        """As ``execute``, for an order that has a number, from its ``attempt``-th attempt on."""
        while True:
            intent = ev.Intended(
                at_ms=self.now_ms, order=order.id, case=case, step=ev.on_wire(order.step), attempt=attempt,
                row=row, dimm=dimm,
            )  # fmt: skip
            if self.dry_run:
                result = Result(Status.REFUSED, NOTHING_ORDERED)
                # Together: an intent by itself would be carried out by a life without a dry run.
                self.write(intent, self._carried(order.id, result))
                return order.id, result
            self.write(intent)
            result = carry_out(self.host, order)
            self.carried(order.id, result)
            if not again(order.step, attempt, result):
                return order.id, result
            attempt += 1

    def carried(self, order: StepId, result: Result) -> None:
        """Write down what became of an order."""
        self.write(self._carried(order, result))

    def executed(self, case: CaseId, step: Step, result: Result) -> StepId:
        """Write down a step that was carried out before anything was written (first aid)."""
        order = self.state.next_order
        self.write(
            ev.Intended(at_ms=self.now_ms, order=order, case=case, step=ev.on_wire(step), row="first aid"),
            self._carried(order, result),
        )
        return order

    def _carried(self, order: StepId, result: Result) -> ev.Carried:
        return ev.Carried(
            at_ms=self.now_ms, order=order, status=result.status, because=result.because, declared=result.declared
        )

    # --- cases

    def closing(self) -> Iterator[ev.Closed]:
        """The outcome of each open case of which all parts have ended; to be written down."""
        for case in self.state.cases.values():
            if case.has_ended:
                entries = tuple(
                    ev.OutcomeEntry(domain, part.state, part.row, part.because) for domain, part in case.parts.items()
                )
                yield ev.Closed(at_ms=self.now_ms, case=case.id, outcome=entries)

    def note_domains(self) -> None:
        """Write down what domains there are, and whether Dom0 can be asked, where that has changed."""
        situation = self.host.situation(None)
        known, dom0 = self.state.domains, situation.dom0
        changed = situation.domains != self._noted
        events: list[ev.Event] = [
            ev.DomainChanged(
                at_ms=self.now_ms, domain=each.id, name=each.name, domain_kind=each.kind, state=each.state,
                uuid=each.uuid,
            )
            for each in (situation.domains if changed else ())
            if (each.lives or each.id in known)
            and (
                each.id not in known
                or (known[each.id].name, known[each.id].state, known[each.id].uuid)
                != (each.name, each.state, each.uuid)
            )
        ]  # fmt: skip
        if (dom0.has_handler, dom0.hurt) != (self.state.dom0_has_handler, self.state.dom0_hurt):
            events.append(ev.Dom0Changed(at_ms=self.now_ms, has_handler=dom0.has_handler, hurt=dom0.hurt))
        if events:
            self.write(*events)
        self._noted = situation.domains


def _cannot_wait(event: ev.Event) -> bool:
    """Whether something is to be known of it even if the disk never answers: what is done, and because of what."""
    return isinstance(event, ev.Intended) or bool(getattr(event, "urgent", False))
