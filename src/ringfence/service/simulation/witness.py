"""What the simulator sees of a run: the model's facts as they happen, and the truth about each uncorrected error.

The truth is taken from the machine (what it logged, at which address) and from the model's own tables (whose the page
is, who maps it) at the moment at which the hypervisor reports the error and before anybody has done anything about it.
Nothing of Ringfence is asked. A watched seat hands everything on unchanged. Where the hypervisor acts alone there is no
seat: the truth is taken as the machine check arrives, before Xen has done anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ringfence.arch.cpuid import Vendor
from ringfence.arch.mci_status import ADDRV, DEFERRED, EN, OVER, PADDRV, POISON, UC, VAL
from ringfence.hypervisor.model.host import ModelHost
from ringfence.hypervisor.model.machine import Access, LoggedError
from ringfence.hypervisor.model.observer import (
    DomainChanged,
    Fact,
    Halted,
    Injected,
    MachineChecked,
    Ran,
    Rebooted,
    Reported,
    Touched,
)
from ringfence.hypervisor.model.templates import Meant
from ringfence.hypervisor.port import Capability
from ringfence.record.evidence import Record
from ringfence.service.simulation.trace import Trace, Truth
from ringfence.service.treatment import Treatment
from ringfence.world.domain import LIVING
from ringfence.world.frames import FrameFacts, Mapping
from ringfence.world.identities import DOM0, PAGE_SHIFT, CaseId, DomainId, Frame
from ringfence.world.situation import Situation
from ringfence.world.treatment import Told, Wanted

CONSUMED_NS: Final = 5_000_000_000
"""A consumption is reported at once, or after a rendezvous that timed out; later it is another one."""

_UNHEARD: Final = (Injected, Touched)
"""What is between a cell and whoever reads it: Dom0 hears of it when it is reported, which is a fact of its own."""

_NOTED: Final = (Rebooted, DomainChanged, Halted, Touched)
"""Far less than half of what happens."""

BEGUN_ANEW: Final = frozenset({"restarted", "restored"})
"""Why the model says that a domain runs again with new memory."""


def is_uncorrected(record: Record) -> bool:
    """Whether a bank holds an uncorrected error, by its own bits (SDM vol. 3B 17.3.2.2; AMD: APM vol. 2 9.3.2)."""
    status = record.registers.status
    if status is None or not VAL.of(status):
        return False
    deferred = record.vendor in {Vendor.AMD, Vendor.HYGON} and DEFERRED.of(status)
    return bool(UC.of(status) or deferred)


_ADDRESS: Final = (1 << 52) - 1
"""Above it, AMD logs how many low bits of the address are not valid (MCA_ADDR of SMCA)."""


def names(record: Record, frame: Frame) -> bool:
    """Whether the evidence names the frame at all (I.2u).

    A memory controller of AMD logs an address of its own; of other banks an address is physical if the bank says so, or
    a core consumed it (Linux arch/x86/kernel/cpu/mce/amd.c, amd_mce_usable_address).
    """
    if record.hypervisor is not None and record.hypervisor.machine_frame is not None:
        return record.hypervisor.machine_frame == frame
    status, addr = record.registers.status or 0, record.registers.addr
    if record.vendor in {Vendor.AMD, Vendor.HYGON} and not (POISON.of(status) or PADDRV.of(status) or UC.of(status)):
        return False
    return bool(ADDRV.of(status)) and addr is not None and (addr & _ADDRESS) >> PAGE_SHIFT == frame


@dataclass(slots=True)
class Witness:
    """Watches one host."""

    trace: Trace
    lost: set[range] = field(default_factory=set)
    """Runs of frames that were reported as lost in this boot."""
    _host: ModelHost | None = None
    _alone: ModelHost | None = None
    """The same, if its hypervisor acts alone."""
    _ended: list[DomainId] = field(default_factory=list)
    _halted: bool = False
    _news: bool = False
    _mapped: dict[Frame, dict[Mapping, None]] = field(default_factory=dict)
    _touched: dict[Frame, tuple[int, DomainId]] = field(default_factory=dict)
    _before: dict[tuple[int, Frame], FrameFacts] = field(default_factory=dict)
    """Of the machine check that is being treated by Xen alone: when, and whose each page was."""

    def watch(self, host: ModelHost) -> None:
        """The host whose truth is asked for."""
        self._host = host
        self._alone = host if Capability.TREATS not in host.capabilities else None

    def struck(self) -> None:
        """As ``strikes.Onlooker.struck``."""
        self.trace.tally.errors += 1

    def see(self, fact: Fact) -> None:
        """A fact (``observer.Observer``)."""
        if isinstance(fact, Ran):
            self.trace.ran.append(fact)
            return
        if self._alone is not None:
            self._see_alone(self._alone, fact)
        self.trace.happened.append(fact)
        if not isinstance(fact, _UNHEARD):
            self._news = True
        if isinstance(fact, _NOTED):
            self._look_at(fact)

    def _look_at(self, fact: Fact) -> None:
        """What the witness itself goes by later."""
        if isinstance(fact, DomainChanged) and (fact.after not in LIVING or fact.because in BEGUN_ANEW):
            self._forget(fact.domain)
        match fact:
            case Rebooted():
                self.lost.clear()
                self._mapped.clear()
            case DomainChanged(domain=domain, after=after) if after not in LIVING and domain != DOM0:
                self._ended.append(domain)
            case DomainChanged(domain=domain) if domain in self._ended:
                # Made anew at once, as a restart does.
                self._ended.remove(domain)
            case Halted():
                self._halted = True
            case Touched(access=Access.MACHINE_CHECK, frame=frame) if frame is not None:
                self._touched[frame] = (fact.at_ns, fact.domain)
            case _:
                pass

    def _see_alone(self, host: ModelHost, fact: Fact) -> None:
        match fact:
            case MachineChecked(at_ns=at_ns):
                frames = _frames_hit(host, at_ns - CONSUMED_NS)
                self._before = {(at_ns, frame): host.frame_facts(frame) for frame in frames}
            case Reported(record=record, dropped=False):
                if (truth := self.truth(record)) is not None:
                    self.note(truth, None)
            case _:
                pass

    def take_ended(self) -> tuple[DomainId, ...]:
        """The domains that have ended since the last call."""
        ended, self._ended = tuple(self._ended), []
        return ended

    def take_halted(self) -> bool:
        """Whether the host has halted since the last call."""
        halted, self._halted = self._halted, False
        return halted

    def expect(self) -> None:
        """Dom0 has done something of which it may hear."""
        self._news = True

    def take_news(self) -> bool:
        """Whether anything has happened since the last call that Dom0 might hear of."""
        news, self._news = self._news, False
        return news

    # --- the truth ---------------------------------------------------------------------------------------------------

    def truth(self, record: Record) -> Truth | None:
        """The truth about a report that is about to be handed on, None if it is of no uncorrected error."""
        host = self._host
        if host is None or not is_uncorrected(record):
            return None
        now_ns = host.clock.now_ns
        error = _logged(host, record)
        if error is None or error.addr is None:
            return Truth(now_ns, record, None, error, None, (), None)
        frame = Frame(error.addr >> PAGE_SHIFT)
        pages: tuple[FrameFacts, ...] = ()
        if names(record, frame):
            pages = (self._before.get((now_ns, frame)) or host.frame_facts(frame),)
        consumer = self._consumer(frame, now_ns) if error.meant is Meant.SRAR else None
        known = self._mapped.setdefault(frame, {})
        now = [mapping for facts in pages for mapping in facts.mappings]
        earlier = tuple(mapping for mapping in known if mapping not in now)
        known.update(dict.fromkeys(now))
        return Truth(now_ns, record, None, error, frame, pages, consumer, earlier)

    def _forget(self, domain: DomainId) -> None:
        """A domain has ended or begun anew: it has lost nothing any more."""
        for known in self._mapped.values():
            for mapping in [mapping for mapping in known if mapping.domain == domain]:
                del known[mapping]

    def note(self, truth: Truth, case: CaseId | None) -> None:
        """It has been judged."""
        self.lost.update(range(facts.frame, facts.frame + facts.pages) for facts in truth.pages)
        self.trace.happened.append(replace(truth, case=case))

    def _consumer(self, frame: Frame, now_ns: int) -> DomainId | None:
        at_ns, domain = self._touched.get(frame, (-CONSUMED_NS, None))
        return domain if now_ns - at_ns < CONSUMED_NS else None


def _logged(host: ModelHost, record: Record) -> LoggedError | None:
    """What the hardware logged, newest first, that the bank showed."""
    for each in reversed(host.machine.trace):
        if (
            isinstance(each, LoggedError)
            and each.kept
            and each.bank == record.bank
            and (record.cpu is None or record.cpu in each.cpus)
            and is_same(each.status, record.registers.status or 0)
        ):
            return each
    return None


def _frames_hit(host: ModelHost, since_ns: int) -> set[Frame]:
    """The frames at which uncorrected errors were logged since then."""
    found: set[Frame] = set()
    for each in reversed(host.machine.trace):
        if isinstance(each, LoggedError):
            if each.at_ns < since_ns:
                break
            if each.addr is not None and each.meant is not Meant.CORRECTED:
                found.add(Frame(each.addr >> PAGE_SHIFT))
    return found


_LATER: Final = OVER.mask | EN.mask | (0x7FFF << 38)
"""What the bank itself adds to a logged status: overflow, that it is enabled, the count of corrected errors."""


def is_same(logged: int, read: int) -> bool:
    """Whether a status that was read is the one that was logged, but for what the bank adds later."""
    return logged & ~_LATER == read & ~_LATER


class WatchedSeat:
    """The production treatment in the hypervisor's seat, with a witness beside it. Changes nothing."""

    def __init__(self, treatment: Treatment, witness: Witness) -> None:
        self.treatment = treatment
        self._witness = witness

    def reported(
        self, records: Sequence[Record], situation_of: Callable[[Record], Situation]
    ) -> tuple[tuple[CaseId | None, ...], tuple[Wanted, ...]]:
        """As ``TreatingSeat.reported``."""
        truths = [self._witness.truth(record) for record in records]
        cases, wanted = self.treatment.reported(records, situation_of)
        for truth, case in zip(truths, cases, strict=True):
            if truth is not None:
                self._witness.note(truth, case)
        return cases, wanted

    def told(self, what: Told, situation: Situation) -> tuple[Wanted, ...]:
        """As ``TreatingSeat.told``."""
        return self.treatment.told(what, situation)
