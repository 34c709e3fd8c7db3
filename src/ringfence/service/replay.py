"""Real evidence put to the model host: what would have happened under a policy.

A log does not say whose page an error hit. A stand-in guest owns every page that is named, and ran wherever something
was consumed outside of the kernel; both are assumptions, and the caller says them. Everything else is real: the
evidence, its reading, the decision, and the production loop in Dom0's seat, which treats the case by itself
(service.alone).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ringfence.arch.cpuid import Vendor
from ringfence.decision.policy import Policy
from ringfence.diagnosis.finding import Event, Finding, diagnose
from ringfence.diagnosis.severity import ErrorClass, Mode, Severity
from ringfence.errors import JournalError
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.host import ModelHost
from ringfence.hypervisor.port import Arrival, Capability, Telemetry, Token
from ringfence.journal.events import OutcomeEntry
from ringfence.journal.store import Journal
from ringfence.record.evidence import Record, Unrecognised
from ringfence.service.loop import Loop
from ringfence.service.seen import frame_of
from ringfence.service.wiring import model_host
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.frames import FrameFacts, FrameUse, Mapping, MappingKind
from ringfence.world.identities import OWN_CASES, CaseId, CpuId, DomainId, Frame, GuestFrame
from ringfence.world.situation import Context, Running, Situation
from ringfence.world.steps import (
    ExchangeFrame,
    IsolateFrame,
    OfflineFrame,
    OnlineFrame,
    Order,
    Result,
    Status,
    Step,
)
from ringfence.world.treatment import Dom0Says

GUEST: Final = "guest"
"""The stand-in's name: a policy's rules can name it."""
PAGES: Final = 1 << 12
LONGEST_GAP_MS: Final = 72 * 3_600_000
"""Between two events: no window of a trend is longer."""
SETTLE_MS: Final = 300_000
"""How long is waited for the end of what an event began: twice the longest default deadline and more."""
_FIRST_TOKEN: Final = 1 << 60
"""Above every number that the model gives."""

STAND_INS: Final[dict[str, DomainSpec]] = {
    "hvm": DomainSpec(name=GUEST, kind=DomainKind.HVM, memory_pages=PAGES, mca_enabled=True),
    "hvm-plain": DomainSpec(name=GUEST, kind=DomainKind.HVM, memory_pages=PAGES),
    "pv": DomainSpec(name=GUEST, kind=DomainKind.PV, memory_pages=PAGES, handler=McaHandler.TRAP),
    "pv-plain": DomainSpec(name=GUEST, kind=DomainKind.PV, memory_pages=PAGES),
}
"""Which guest stands in: HVM that enabled MCA, HVM that did not, PV with a handler, PV without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of one event. ``outcome`` has an entry per loser; empty for a corrected error that nobody acted on.

    ``ahead`` are the outcomes of what Dom0 began ahead of an error because of this event (II.1). ``halted``: the host
    stood after it (it was reset, and its guest started again, for what follows).
    """

    event: Event
    outcome: tuple[OutcomeEntry, ...]
    ahead: tuple[OutcomeEntry, ...]
    halted: bool


class StandInHost:
    """The model host with evidence from a log: pages that the log names are pages of the stand-in."""

    def __init__(self, host: ModelHost, guest: DomainId) -> None:
        self._host, self._guest = host, guest
        self._waiting: list[Telemetry] = []
        self._next_token = _FIRST_TOKEN
        self._pages: dict[Frame, GuestFrame] = {}
        self._running: dict[bytes, Running] = {}

    def feed(self, finding: Finding) -> None:
        """Evidence arrives."""
        record = finding.record
        self._running[record.raw] = self._who(finding)
        is_urgent = finding.error_class is ErrorClass.UNCORRECTED
        self._waiting.append(Telemetry(Token(self._next_token), is_urgent, (record,)))
        self._next_token += 1

    def _who(self, finding: Finding) -> Running:
        cpu = CpuId((finding.record.cpu or 0) % self._cpus)
        if finding.severity is not Severity.SRAR:
            return Running(cpu=cpu)
        if finding.verdict.mode is Mode.KERNEL:
            return Running(cpu=cpu, context=Context.HYPERVISOR)
        return Running(cpu=cpu, context=Context.GUEST, domain=self._guest)

    @property
    def _cpus(self) -> int:
        return len(self._host.machine.settings.topology.cpus)

    # --- the port

    @property
    def name(self) -> str:
        """As ``port.Hypervisor.name``."""
        return f"{self._host.name}, with evidence from a log"

    @property
    def capabilities(self) -> Capability:
        """The model's, but that nobody sits in its hypervisor's seat for evidence from elsewhere."""
        return self._host.capabilities & ~Capability.TREATS

    @property
    def boot(self) -> int:
        """As ``port.Hypervisor.boot``."""
        return self._host.boot

    def now_ms(self) -> int:
        """As ``port.Hypervisor.now_ms``."""
        return self._host.now_ms()

    def arrivals(self) -> tuple[Arrival, ...]:
        """What the log has, then what the model has."""
        return (*self._waiting[:1], *self._host.arrivals())

    def acknowledge(self, token: Token) -> None:
        """As ``port.Hypervisor.acknowledge``."""
        if token >= _FIRST_TOKEN:
            self._waiting = [each for each in self._waiting if each.token != token]
        else:
            self._host.acknowledge(token)

    def situation(self, record: Record | None) -> Situation:
        """The model's host; pages that the log names are the stand-in's."""
        situation = self._host.situation(None)
        if record is None or record.raw not in self._running:
            return situation
        frames = tuple(self._facts(frame, situation) for frame in _frames(record))
        return replace(
            situation,
            frames=frames,
            running=self._running[record.raw],
            # What the machine of the log can do is in its class already; the model's own ability is another's.
            platform=replace(situation.platform, poisons=None, poisons_because="", shared_caches=()),
        )

    def _facts(self, frame: Frame, situation: Situation) -> FrameFacts:
        page = self._pages.setdefault(frame, GuestFrame(len(self._pages) % PAGES))
        guest = situation.domain(self._guest)
        if guest is None or not guest.lives:
            return FrameFacts(frame=frame, use=FrameUse.FREE)
        mapping = Mapping(domain=self._guest, kind=MappingKind.CPU, guest_frame=page)
        return FrameFacts(frame=frame, use=FrameUse.DOMAIN, owner=self._guest, mappings=(mapping,))

    def carry_out(self, order: Order) -> Result:
        """As ``port.Hypervisor.carry_out``, with the log's frames turned into the model's."""
        step = self._here(order.step)
        if step is None:
            return Result(Status.DONE, "the page is nobody's any more")
        return self._host.carry_out(replace(order, step=step))

    def _here(self, step: Step) -> Step | None:
        """A step with the model's frame instead of the log's; None if the stand-in has it no more."""
        match step:
            case IsolateFrame() | OfflineFrame() | OnlineFrame() | ExchangeFrame() if step.frame in self._pages:
                try:
                    address = self._host.address(self._guest, self._pages[step.frame])
                except KeyError:
                    return None
                return replace(step, frame=Frame(address >> 12))
            case _:
                return step

    def probe(self, order: Order) -> Result:
        """As ``port.Hypervisor.probe``."""
        return self._host.probe(order)

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``port.Hypervisor.answer``."""
        return self._host.answer(case, domain, says)

    def evidence_saved(self, case: CaseId) -> None:
        """As ``port.Hypervisor.evidence_saved``."""
        self._host.evidence_saved(case)


def _frames(record: Record) -> tuple[Frame, ...]:
    """The frames that a record of a log names, by what decode says of its address."""
    frame = frame_of(diagnose(record))
    return (frame,) if frame is not None else ()


class _Stage:
    """One policy on one model host with one journal."""

    def __init__(self, policy: Policy, journal: Path, *, vendor: Vendor | None, stand_in: str) -> None:
        self._policy = policy
        platform = "turin" if vendor in {Vendor.AMD, Vendor.HYGON} else "cascade-lake"
        self._model = model_host(policy, seed=1, platform=platform)
        self._spec = STAND_INS[stand_in]
        self._journal = Journal(journal, fsync=False)
        self._begin()

    def _begin(self) -> None:
        guest = self._model.create(self._spec)
        self._model.set_dom0_handler(True)
        self._model.advance(1)
        self._host = StandInHost(self._model, guest)
        self._loop = Loop(self._host, self._journal, self._policy)

    def play(self, event: Event, gap_ms: int) -> Played:
        """Put one event to the host, and wait for what follows."""
        self._model.advance(gap_ms)
        before = set(self._loop.state.outcomes)
        self._host.feed(event.finding)
        self._loop.turn()
        waited_ms = 0
        while self._loop.state.cases and waited_ms < SETTLE_MS and not self._model.halted:
            wake_ms = self._loop.wake_ms
            step_ms = max(1, min(1_000, (wake_ms or self._model.now_ms() + 1_000) - self._model.now_ms()))
            self._model.advance_to_next(step_ms)
            waited_ms += step_ms
            self._loop.turn()
        outcomes = self._loop.state.outcomes
        new = [number for number in outcomes if number not in before]
        own = [number for number in new if number >= OWN_CASES]
        halted = self._model.halted
        played = Played(
            event=event,
            outcome=tuple(entry for number in new if number < OWN_CASES for entry in outcomes[number].entries),
            ahead=tuple(entry for number in own for entry in outcomes[number].entries),
            halted=halted,
        )
        if halted:
            self._model.reboot()
            self._begin()
        elif self._gone():
            self._begin()
        return played

    def _gone(self) -> bool:
        situation = self._model.situation(None)
        return not any(each.name == GUEST and each.lives for each in situation.domains)

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()


def replay(
    found: Iterable[Event | Unrecognised], policies: tuple[Policy, ...], directory: Path, *, stand_in: str = "hvm"
) -> Iterator[tuple[Played, ...] | Unrecognised]:
    """Put events to a model host for each policy; yields what became of each event under each policy, in order.

    What cannot be read is handed on. Journals are written to ``directory``. Raises JournalError if one is there.
    """
    stages: list[_Stage] = []
    journals = [directory / f"policy-{number}.sqlite" for number, _ in enumerate(policies, 1)]
    for journal in journals:
        if journal.exists():
            advice = "Name another directory, or take it away: two replays in one journal would be told as one history."
            raise JournalError(journal, "it holds an earlier replay", advice=advice)
    last: float | None = None
    try:
        for event in found:
            if isinstance(event, Unrecognised):
                yield event
                continue
            if event.count == 0 or event.finding.severity is Severity.NONE:
                continue
            if not stages:
                stages.extend(
                    _Stage(policy, journal, vendor=event.finding.vendor, stand_in=stand_in)
                    for policy, journal in zip(policies, journals, strict=True)
                )
            time = event.finding.record.time
            gap_ms = 1_000 if time is None or last is None else max(1, round((time - last) * 1000))
            last = time if time is not None else last
            yield tuple(stage.play(event, min(gap_ms, LONGEST_GAP_MS)) for stage in stages)
    finally:
        for stage in stages:
            stage.close()
