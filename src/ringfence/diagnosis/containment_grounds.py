"""What else speaks for or against an impact, beside the rules that decided it: none of this changes the impact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.containment_facts import (
    Extent,
    Kind,
    Region,
    gaps,
    is_about,
    is_past,
    kind_of,
)
from ringfence.diagnosis.containment_holdings import Holding
from ringfence.diagnosis.finding import Finding
from ringfence.diagnosis.impact import Certainty, Consumer, Ground, Party
from ringfence.world.identities import Frame
from ringfence.world.situation import Situation

_NAMED_FRAMES: Final = 4
"""A sentence names so many frames, and counts the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that a ground is drawn from."""

    finding: Finding
    situation: Situation
    region: Region | None
    holdings: tuple[Holding, ...]
    extent: Extent
    consumer: Consumer

    @property
    def is_uncorrected_now(self) -> bool:
        """Whether it is an uncorrected error, and no history."""
        return kind_of(self.finding) is not Kind.NOTHING_LOST and not is_past(self.finding, self.situation)


_ADDRESS: Final = {
    AddressKind.NONE: "no-address",
    AddressKind.SEGMENT_OFFSET: "address-not-physical",
    AddressKind.LINEAR: "address-not-physical",
    AddressKind.MEMORY: "address-not-physical",
    AddressKind.GENERIC: "address-not-physical",
    AddressKind.NORMALISED: "address-normalised",
    AddressKind.GUEST_PHYSICAL: "address-guest-physical",
    AddressKind.PHYSICAL: "address-in-doubt",
    AddressKind.UNKNOWN: "address-in-doubt",
}
"""What an address is called that names no page, by its kind."""


def hexed(frames: Iterable[tuple[Frame, int]]) -> str:
    """Frames in words: the first few by number, the rest counted."""
    listed = [f"{frame:#x}" if pages == 1 else f"{frame:#x} ({pages} pages)" for frame, pages in frames]
    rest = len(listed) - _NAMED_FRAMES
    word = "frame" if len(listed) == 1 else "frames"
    return f"{word} {', '.join(listed[:_NAMED_FRAMES])}" + (f" and {rest} more" if rest > 0 else "")


def _address(seen: Seen) -> Iterator[Ground]:
    address = seen.finding.reading.address
    report = seen.finding.record.hypervisor
    if report is not None and report.machine_frame is not None:
        yield Ground(
            "frame-by-recovery-entry",
            f"the hypervisor's recovery entry names frame {report.machine_frame:#x}; MCi_ADDR may hold the guest's own "
            "address by then",
            "Xen xen/include/public/arch-x86/xen-mca.h (page_offline_action); arch/x86/cpu/mcheck/mcaction.c",
        )
    elif seen.region is not None:
        yield Ground("address-names-pages", address.because, "SDM vol. 3B 17.3.2.4; APM vol. 2 9.3.2")
    elif seen.is_uncorrected_now:
        yield Ground(_ADDRESS[address.kind], address.because, "SDM vol. 3B 17.3.2.3; APM vol. 2 9.3.2", supports=False)


def _frames_beside(seen: Seen) -> Iterator[Ground]:
    region = seen.region
    if region is not None and (missing := gaps(region, tuple(each.frame for each in seen.holdings))):
        yield Ground("page-not-listed", f"{hexed(missing)}: the hypervisor says nothing of it", supports=False)
    strange = [
        (frame.frame, frame.pages) for frame in seen.situation.frames if region is None or not region.meets(frame)
    ]
    if strange:
        yield Ground(
            "frame-not-named",
            f"{hexed(strange)}: listed by the hypervisor, but the evidence does not name it; not believed",
            supports=False,
        )


def _holders(seen: Seen) -> Iterator[Ground]:
    by_name = sorted(seen.holdings, key=lambda each: (each.rule.name, each.frame.owner or 0, each.frame.frame))
    for (rule, owner), group in groupby(by_name, key=lambda each: (each.rule, each.frame.owner)):
        whose = "" if owner is None else f" (domain {owner})"
        frames = hexed((each.frame.frame, each.frame.pages) for each in group)
        yield Ground(rule.name, f"{frames}{whose}: {rule.because}", rule.cite)


def _mappers(seen: Seen) -> Iterator[Ground]:
    """Whoever maps a page beside its owner, once for each way."""
    said = dict.fromkeys(
        (rule, mapping.domain, mapping.kind)
        for each in seen.holdings
        for mapping, rule in each.mappings
        if mapping.domain != each.frame.owner
    )
    for rule, domain, kind in said:
        yield Ground(rule.name, f"domain {domain} ({kind}): {rule.because}", rule.cite)


def _two_errors(seen: Seen) -> Iterator[Ground]:
    if broken := [(each.frame.frame, each.frame.pages) for each in seen.holdings if each.frame.broken]:
        because = f"{hexed(broken)}: marked as broken, by an earlier error or for this one"
        yield Ground("page-broken-before", because, "concept L2")
    frames = tuple(each.frame for each in seen.holdings)
    for case in seen.situation.open_cases:
        if is_about(case, seen.region, frames):
            state = "consumed" if case.consumed else "not consumed"
            yield Ground("page-in-open-case", f"case {case.id} ({state}) is about the same page", "concept L2")


def _overflow(seen: Seen) -> Iterator[Ground]:
    if seen.is_uncorrected_now and any(reason.rule == "overflow" for reason in seen.finding.reasons):
        yield Ground(
            "hidden-error",
            "OVER=1: an error was lost whose page and consumer nobody knows; it may have other losers",
            "SDM vol. 3B 17.3.2.2.1; APM vol. 2 9.3.2",
            supports=False,
        )


def _poisoning(seen: Seen) -> Iterator[Ground]:
    if not seen.is_uncorrected_now:
        return
    platform = seen.situation.platform
    because = f": {platform.poisons_because}" if platform.poisons_because else ""
    match platform.poisons:
        case True:
            yield Ground("platform-poisons", f"the platform keeps bad data marked{because}", "concept B.7")
        case None:
            said = f"it is not established that the platform keeps bad data marked{because}; the severity rests on it"
            yield Ground("poisoning-not-established", said, "concept B.7", supports=False)
        case False:
            yield Ground("platform-does-not-poison", f"the platform keeps no bad data marked{because}", "concept B.7")


def _ran_there(seen: Seen) -> Iterator[Ground]:
    running = seen.situation.running
    if seen.is_uncorrected_now and seen.consumer.certainty is Certainty.UNCONFINED and running.domain is not None:
        said = f"domain {running.domain} ran on the CPU that reported: a likely consumer, and not a proven one"
        yield Ground("ran-there", said, "concept, Words", supports=False)


def _stranger(seen: Seen) -> Iterator[Ground]:
    """A DomU cannot read what it does not map: the owner map is of another moment, or not complete."""
    domain = seen.consumer.domain
    if seen.consumer.party is not Party.DOMU or domain is None or not seen.holdings:
        return
    reached = any(
        each.frame.owner == domain or any(mapping.domain == domain for mapping, _ in each.mappings)
        for each in seen.holdings
    )
    if not reached:
        said = f"domain {domain} consumed what the owner map does not give it: the map is of another moment or lacks it"
        yield Ground("consumer-does-not-map", said, "concept B.1", supports=False)


def _consumer_alone(seen: Seen) -> Iterator[Ground]:
    known = seen.consumer.party is not Party.NOBODY
    if known and seen.extent is not Extent.WHOLE and seen.consumer.certainty is Certainty.PROVEN:
        yield Ground(
            "consumer-is-known",
            "the consumer is known and could be stopped alone: what it took in has not gone further",
            "SDM vol. 3B 17.9.3.2",
            supports=False,
        )


def _other_owner(seen: Seen) -> Iterator[Ground]:
    report = seen.finding.record.hypervisor
    if report is None or report.owner is None:
        return
    owners = {each.frame.owner for each in seen.holdings if each.frame.owner is not None}
    if owners and report.owner not in owners:
        said = f"the record says that the page is domain {report.owner}'s; the owner map, which counts, does not"
        yield Ground("record-names-another-owner", said, "Xen xen/include/public/arch-x86/xen-mca.h", supports=False)


def _served(seen: Seen) -> Iterator[Ground]:
    for number in sorted({number for each in seen.holdings for _, number in each.losers() if number is not None}):
        domain = seen.situation.domain(number)
        if domain is not None and domain.serves:
            others = ", ".join(str(other) for other in sorted(domain.serves))
            said = f"domain {number} serves others (device model, driver domain): {others}; they lose nothing of theirs"
            yield Ground("loser-serves-others", said, "concept, Words")


def _already_done(seen: Seen) -> Iterator[Ground]:
    for done in seen.situation.already_done:
        about = "" if done.domain is None else f", domain {done.domain}"
        about += "" if done.frame is None else f", frame {done.frame:#x}"
        yield Ground("already-done", f"the hypervisor has acted by itself: {done.deed}{about}", "concept, Seats")


def _fetch_quirk(seen: Seen) -> Iterator[Ground]:
    elsewhere = any(reason.rule == "consumer-elsewhere" for reason in seen.finding.reasons)
    if elsewhere and seen.consumer.party is not Party.NOBODY:
        yield Ground(
            "eipv-clear-on-fetch",
            "RIPV=1 EIPV=0, which would mean another CPU; but a Zen fetch unit leaves EIPV clear for its own errors",
            "Linux arch/x86/kernel/cpu/mce/core.c (zen_ifu_quirk)",
            supports=False,
        )


GROUNDS: Final[tuple[Callable[[Seen], Iterator[Ground]], ...]] = (
    _address,
    _frames_beside,
    _holders,
    _mappers,
    _two_errors,
    _overflow,
    _poisoning,
    _ran_there,
    _stranger,
    _consumer_alone,
    _other_owner,
    _served,
    _already_done,
    _fetch_quirk,
)
"""All of them are looked at; each that holds is stated."""


def grounds_beside(seen: Seen) -> tuple[Ground, ...]:
    """Everything that holds beside the rules that decided."""
    return tuple(ground for look in GROUNDS for ground in look(seen))
