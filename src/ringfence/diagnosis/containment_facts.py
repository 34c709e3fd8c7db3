"""All that the rules of containment look at: a few closed choices, drawn from a finding and a situation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from ringfence.arch.cpuid import Signature, Vendor
from ringfence.arch.mcg import EIPV, MCIP, RIPV
from ringfence.arch.mci_status import PCC
from ringfence.decode.meaning import AddressKind, UnitKind
from ringfence.decode.upkeep import smca_type
from ringfence.diagnosis.finding import Finding
from ringfence.diagnosis.severity import Severity
from ringfence.diagnosis.severity_claims import consumed_in_words
from ringfence.diagnosis.severity_intel import DATA_LOAD, INSTRUCTION_FETCH
from ringfence.errors import DeclarationError
from ringfence.record.evidence import Delivery
from ringfence.world.frames import FrameFacts, FrameUse, MappingKind
from ringfence.world.identities import DOM0, DOMID_COW, PAGE_BYTES, PAGE_SHIFT, DomainId, Frame
from ringfence.world.situation import Context, Deed, OpenCase, Situation


def fits(wanted: object, is_: object) -> bool:
    """Whether a fact is what a rule asks for: None is whatever it is, a set is any of its members."""
    return wanted is None or (is_ in wanted if isinstance(wanted, frozenset) else wanted == is_)


_Rule = TypeVar("_Rule")


def deciding(matching: Iterator[_Rule], facts: object) -> _Rule:
    """The first of the rules that match. Raises DeclarationError if there is none: the table is not total then."""
    for rule in matching:
        return rule
    raise DeclarationError(f"no rule matches {facts}")


class Kind(StrEnum):
    """What became of the data, by the severity."""

    NOTHING_LOST = "nothing was lost"
    UNCONSUMED = "data was lost, and nobody consumed it"
    CONSUMED = "bad data was consumed"
    FATAL = "the error is fatal"


_KINDS: Final = {
    Severity.NONE: Kind.NOTHING_LOST,
    Severity.CORRECTED: Kind.NOTHING_LOST,
    Severity.DEFERRED: Kind.UNCONSUMED,
    Severity.UCNA: Kind.UNCONSUMED,
    Severity.SRAO: Kind.UNCONSUMED,
    Severity.SRAR: Kind.CONSUMED,
    Severity.FATAL: Kind.FATAL,
}


class Tie(StrEnum):
    """How the evidence ties a consumed error to what its CPU was executing."""

    THIS = "tied to what this CPU was executing"
    ELSEWHERE = "tied to another CPU (RIPV=1 EIPV=0)"
    NEITHER = "tied to nothing (RIPV=0 EIPV=0)"
    NOT_SAID = "MCG_STATUS is missing, or not as the exception left it (MCIP=0)"
    SHARED_UNIT = "nothing shows that the unit that reported is this CPU's alone"
    NOT_SIGNALLED = "nothing says that it came as an exception"


class Who(StrEnum):
    """What a domain's number stands for at this moment."""

    NOBODY = "nobody, or not known"
    DOM0 = "Dom0"
    DOMU = "a DomU that lives, or that the hypervisor killed over this error"
    GONE = "a domain that is gone"
    SHARERS = "no domain: those that share the page copy-on-write"


class Extent(StrEnum):
    """How much is known of the pages that were hit."""

    WHOLE = "of every page it is known whose it is"
    PARTLY = "pages are named, but of some it is not known whose they are"
    NOTHING = "no page can be named"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerFacts:
    """All that the consumer depends on.

    ``past``: the error is one of an earlier boot or exception. ``poisons`` is false only if it is established that the
    platform keeps no poison. ``ran`` is whose guest code ran. ``known_case``: an open case about a consumed error has
    one of the named pages.
    """

    past: bool
    kind: Kind
    poisons: bool
    tie: Tie
    context: Context
    ran: Who
    known_case: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoserFacts:
    """All that the losers depend on, as far as it is not a matter of single pages.

    ``context_lost``: the consumer is proven and lives, and what it was executing cannot be resumed. ``held``: somebody
    who is there now loses one of the pages.
    """

    past: bool
    kind: Kind
    poisons: bool
    extent: Extent
    context_lost: bool
    held: bool


@dataclass(frozen=True, slots=True)
class FrameSight:
    """All that the holder of one page depends on."""

    use: FrameUse
    owner: Who


@dataclass(frozen=True, slots=True)
class MappingSight:
    """All that it depends on whether a mapping makes a loser. ``own``: it is the owner's."""

    kind: MappingKind
    by: Who
    own: bool


@dataclass(frozen=True, slots=True)
class Region:
    """The page frames that the evidence itself names: ``pages`` of them from ``first`` on."""

    first: Frame
    pages: int

    def meets(self, frame: FrameFacts) -> bool:
        """Whether one of them is among those that ``frame`` stands for."""
        return frame.frame < self.first + self.pages and self.first < frame.frame + frame.pages

    def share(self, frame: FrameFacts) -> tuple[Frame, int]:
        """The part of ``frame`` that the evidence itself names, where they meet."""
        first = max(frame.frame, self.first)
        return Frame(first), min(frame.frame + frame.pages, self.first + self.pages) - first


LARGEST_REGION_BYTES: Final = 1 << 30
"""An address that stands for more than a gigabyte names nothing that could be treated."""


def who(domain: DomainId | None, situation: Situation) -> Who:
    """What a domain's number stands for. Dom0 is always there.

    One that the hypervisor killed by itself is no less hit by this error: what became of it is its outcome.
    """
    if domain is None:
        return Who.NOBODY
    if domain == DOM0:
        return Who.DOM0
    if domain == DOMID_COW:
        return Who.SHARERS
    known = situation.domain(domain)
    killed = any(done.deed is Deed.KILLED_DOMAIN and done.domain == domain for done in situation.already_done)
    return Who.DOMU if killed or (known is not None and known.lives) else Who.GONE


def region_of(finding: Finding) -> Region | None:
    """The page frames that the evidence names, None if it names none.

    The frame in Xen's recovery entry comes before MCi_ADDR, as Xen overwrites that with the guest's own address (Xen
    arch/x86/cpu/mcheck/mcaction.c, mc_memerr_dhandler). An address that is physical and coarser than a page names all
    pages that it may stand for.
    """
    seen = finding.record.hypervisor
    if seen is not None and seen.machine_frame is not None:
        return Region(Frame(seen.machine_frame), 1)
    address = finding.reading.address
    if address.value is None:
        return None
    granularity = address.granularity_bytes or 1
    if address.names_a_page:
        return Region(Frame(address.value >> PAGE_SHIFT), 1)
    if address.kind is not AddressKind.PHYSICAL or not PAGE_BYTES < granularity <= LARGEST_REGION_BYTES:
        return None
    return Region(Frame((address.value & ~(granularity - 1)) >> PAGE_SHIFT), granularity >> PAGE_SHIFT)


def frames_of(region: Region | None, situation: Situation) -> tuple[FrameFacts, ...]:
    """What the hypervisor knows of the pages that the evidence names; what it says of others is not believed."""
    return () if region is None else tuple(frame for frame in situation.frames if region.meets(frame))


def gaps(region: Region, frames: tuple[FrameFacts, ...]) -> tuple[tuple[Frame, int], ...]:
    """The pages that the evidence names and of which the hypervisor tells nothing: first frame, and how many."""
    found: list[tuple[Frame, int]] = []
    at, end = int(region.first), region.first + region.pages
    for first, pages in sorted((frame.frame, frame.pages) for frame in frames):
        if first > at:
            found.append((Frame(at), first - at))
        at = max(at, first + pages)
    if at < end:
        found.append((Frame(at), end - at))
    return tuple(found)


def is_past(finding: Finding, situation: Situation) -> bool:
    """Whether the error is of an earlier boot, or left over from an earlier exception: history only.

    So is PCC=1 that was found by polling, whatever EN says: the context that it calls corrupt is not the one that
    polls. A kernel reports so at each start what firmware left in the banks: to halt for it would be to halt for ever.
    """
    return situation.earlier_boot or finding.is_left_over or _is_corrupt_and_polled(finding)


def _is_corrupt_and_polled(finding: Finding) -> bool:
    status = finding.record.registers.status
    return status is not None and bool(PCC.of(status)) and finding.verdict.delivery is Delivery.POLLED


def kind_of(finding: Finding) -> Kind:
    """What became of the data."""
    return _KINDS[finding.severity]


def tie_of(finding: Finding, situation: Situation) -> Tie:
    """How the evidence ties a consumed error to what its CPU was executing; conservative where it says little.

    RIPV and EIPV: SDM vol. 3B 17.9.3.2. A Zen instruction fetch unit leaves EIPV clear though the fault is its own
    processor's (Linux arch/x86/kernel/cpu/mce/core.c, zen_ifu_quirk). The like for Sandy Bridge, which leaves both
    clear, is not made good here: that is told apart from a lost context by the model alone.
    """
    if consumed_in_words(finding.record.claims):
        return Tie.THIS
    if finding.verdict.delivery not in {Delivery.MACHINE_CHECK, Delivery.LOCAL_MACHINE_CHECK}:
        return Tie.NOT_SIGNALLED
    if not (_is_of_one_cpu(finding) or _is_unshared_cache(finding, situation)):
        return Tie.SHARED_UNIT
    mcg_status = finding.record.registers.mcg_status
    if mcg_status is None or not MCIP.of(mcg_status):
        return Tie.NOT_SAID
    if EIPV.of(mcg_status) or (RIPV.of(mcg_status) and _is_zen_fetch(finding)):
        return Tie.THIS
    return Tie.ELSEWHERE if RIPV.of(mcg_status) else Tie.NEITHER


def _is_of_one_cpu(finding: Finding) -> bool:
    """Whether the bank reports for one core only (its threads are told apart by RIPV and EIPV).

    Intel's architectural SRAR codes come from a core's own load and fetch units. Of AMD's banks before SMCA only the
    load-store unit's is no other core's: a compute unit of family 15h shares the others (BKDG 42301).
    """
    registers = finding.record.registers
    match finding.verdict.table:
        case "intel-ser-p" | "zhaoxin-ser-p":
            status = registers.status or 0
            return any(status & code.mask == code.wanted for code in (DATA_LOAD, INSTRUCTION_FETCH))
        case "amd-smca":
            kind = smca_type(finding.record, _signature(finding))
            return kind is not None and kind.core
        case "amd-legacy":
            return finding.record.bank == 0
        case _:
            return False


def _is_unshared_cache(finding: Finding, situation: Situation) -> bool:
    cpu = situation.running.cpu
    if finding.reading.unit_kind is not UnitKind.CORE or cpu is None:
        return False
    return situation.platform.sharing_cache_with(cpu) == {cpu}


def _is_zen_fetch(finding: Finding) -> bool:
    kind = smca_type(finding.record, _signature(finding)) if finding.verdict.table == "amd-smca" else None
    return kind is not None and kind.symbol == "IF" and finding.vendor is Vendor.AMD


def _signature(finding: Finding) -> Signature | None:
    processor = finding.meaning.processor
    return None if processor is None else processor.signature


def is_context_corrupt(finding: Finding) -> bool:
    """Whether PCC says that the processor itself is not to be trusted (SDM vol. 3B 17.3.2.2)."""
    return bool((finding.record.registers.status or 0) & PCC.mask) and kind_of(finding) is Kind.FATAL


def is_about(case: OpenCase, region: Region | None, frames: tuple[FrameFacts, ...]) -> bool:
    """Whether an open case has one of the pages that were hit."""
    hit = [(frame.frame, frame.pages) for frame in frames]
    if region is not None:
        hit.append((region.first, region.pages))
    return any(first <= frame < first + pages for frame in case.frames for first, pages in hit)


def consumer_facts(finding: Finding, situation: Situation) -> ConsumerFacts:
    """What the consumer depends on."""
    region = region_of(finding)
    frames = frames_of(region, situation)
    running = situation.running
    return ConsumerFacts(
        past=is_past(finding, situation),
        kind=kind_of(finding),
        poisons=situation.platform.poisons is not False,
        tie=tie_of(finding, situation),
        context=running.context,
        ran=who(running.domain, situation),
        known_case=any(case.consumed and is_about(case, region, frames) for case in situation.open_cases),
    )
