"""Who loses by an error: whose a page is, who loses by a mapping, whether all losers are known. Ordered tables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ringfence.diagnosis.containment_facts import Extent, FrameSight, Kind, LoserFacts, MappingSight, Who, fits
from ringfence.diagnosis.impact import Certainty
from ringfence.world.frames import FrameUse, MappingKind

_UNCERTAIN = "concept B.1"
_PAST = "concept B.2; SDM vol. 3B 17.10.4.2"
_NOBODY_LOSES = "concept I.2n"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoserRule:
    """Whether the losers are known. ``names`` says whether those that the pages name are losers now."""

    name: str
    certainty: Certainty
    names: bool
    because: str
    cite: str
    past: bool | None = None
    kind: Kind | None = None
    poisons: bool | None = None
    extent: Extent | None = None
    context_lost: bool | None = None
    held: bool | None = None

    def matches(self, facts: LoserFacts) -> bool:
        """Whether it applies."""
        return (
            fits(self.past, facts.past)
            and fits(self.kind, facts.kind)
            and fits(self.poisons, facts.poisons)
            and fits(self.extent, facts.extent)
            and fits(self.context_lost, facts.context_lost)
            and fits(self.held, facts.held)
        )


class Holder(StrEnum):
    """Who loses what a frame holds, mappings aside."""

    HYPERVISOR = "the hypervisor"
    OWNER = "its owner"
    NOBODY = "nobody"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRule:
    """Who holds a frame."""

    name: str
    holder: Holder
    because: str
    cite: str
    use: FrameUse | None = None
    owner: Who | None = None

    def matches(self, sight: FrameSight) -> bool:
        """Whether it applies."""
        return fits(self.use, sight.use) and fits(self.owner, sight.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRule:
    """Whether whoever maps a lost frame loses by it."""

    name: str
    loses: bool
    because: str
    cite: str
    kinds: frozenset[MappingKind] | None = None
    by: Who | None = None
    own: bool | None = None

    def matches(self, sight: MappingSight) -> bool:
        """Whether it applies."""
        return fits(self.kinds, sight.kind) and fits(self.by, sight.by) and fits(self.own, sight.own)


LOSERS: Final[tuple[LoserRule, ...]] = (
    LoserRule(
        name="lost-in-the-past",
        certainty=Certainty.PROVEN,
        names=False,
        because="the error is history: nobody who is there now loses by it",
        cite=_PAST,
        past=True,
    ),
    LoserRule(
        name="nothing-lost",
        certainty=Certainty.PROVEN,
        names=False,
        because="the hardware lost no data",
        cite="SDM vol. 3B 17.3.2.2; APM vol. 2 9.3.2",
        kind=Kind.NOTHING_LOST,
    ),
    LoserRule(
        name="loss-unbounded",
        certainty=Certainty.UNCONFINED,
        names=True,
        because="the error is fatal: whoever is named lost something, and nothing says that it is all",
        cite=f"{_UNCERTAIN}; SDM vol. 3B 17.6.3; APM vol. 2 9.2",
        kind=Kind.FATAL,
    ),
    LoserRule(
        name="loss-unmarked",
        certainty=Certainty.UNCONFINED,
        names=True,
        because="the platform does not mark bad data: what was read from the page went on as good data",
        cite="concept B.7",
        poisons=False,
    ),
    LoserRule(
        name="context-lost",
        certainty=Certainty.PROVEN,
        names=True,
        because="the consumer cannot be resumed (RIPV=0 or TCC=1): it loses a CPU's context, beside who loses the page",
        cite="SDM vol. 3B 17.3.1.2; APM vol. 2 9.3.2.2 (TCC)",
        extent=Extent.WHOLE,
        context_lost=True,
    ),
    LoserRule(
        name="page-held",
        certainty=Certainty.PROVEN,
        names=True,
        because="the pages are named, and so is everybody who has them",
        cite="concept, Words",
        extent=Extent.WHOLE,
        held=True,
    ),
    LoserRule(
        name="page-free",
        certainty=Certainty.PROVEN,
        names=False,
        because="the pages are named, and nobody who is there now has them",
        cite=_NOBODY_LOSES,
        extent=Extent.WHOLE,
    ),
    LoserRule(
        name="page-not-named",
        certainty=Certainty.UNLOCATED,
        names=False,
        because="bad data lies in a page that cannot be named; nobody has consumed it",
        cite="concept I.2u",
        kind=Kind.UNCONSUMED,
        extent=Extent.NOTHING,
    ),
    LoserRule(
        name="owner-not-known",
        certainty=Certainty.UNLOCATED,
        names=True,
        because="bad data lies in a page that is named, and of a page that was hit it is not known whose it is",
        cite="concept I.2u",
        kind=Kind.UNCONSUMED,
        extent=Extent.PARTLY,
    ),
    LoserRule(
        name="consumed-from-a-page-of-unknown-owner",
        certainty=Certainty.UNCONFINED,
        names=True,
        because="bad data was consumed, and of a page that was hit it is not known whose it is",
        cite=_UNCERTAIN,
        extent=Extent.PARTLY,
    ),
    LoserRule(
        name="consumed-from-no-known-page",
        certainty=Certainty.UNCONFINED,
        names=True,
        because="bad data was consumed and its page cannot be named: more of it may be taken in by anybody",
        cite=f"{_UNCERTAIN}; SDM vol. 3B 17.9.3.2",
    ),
)
"""Whether the losers are known. Total over ``LoserFacts``; what no other rule knows is unconfined."""

FRAMES: Final[tuple[FrameRule, ...]] = (
    FrameRule(
        name="hypervisors-page",
        holder=Holder.HYPERVISOR,
        because="it is the hypervisor's own: heap, text or tables",
        cite="concept I.2b",
        use=FrameUse.HYPERVISOR,
    ),
    FrameRule(
        name="dom0s-page",
        holder=Holder.OWNER,
        because="it is Dom0's memory",
        cite="concept I.2b",
        use=FrameUse.DOMAIN,
        owner=Who.DOM0,
    ),
    FrameRule(
        name="domus-page",
        holder=Holder.OWNER,
        because="it is a DomU's memory",
        cite="concept I.2c",
        use=FrameUse.DOMAIN,
        owner=Who.DOMU,
    ),
    FrameRule(
        name="page-shared-copy-on-write",
        holder=Holder.NOBODY,
        because="guests share it copy-on-write and none of them owns it: whoever maps it loses it",
        cite="concept I.2c-many; Xen xen/include/public/xen.h, DOMID_COW",
        use=FrameUse.DOMAIN,
        owner=Who.SHARERS,
    ),
    FrameRule(
        name="page-of-a-domain-that-is-gone",
        holder=Holder.NOBODY,
        because="its owner is gone: nobody misses what it held",
        cite=_NOBODY_LOSES,
        use=FrameUse.DOMAIN,
        owner=Who.GONE,
    ),
    FrameRule(
        name="domains-page-of-unknown-owner",
        holder=Holder.UNKNOWN,
        because="it is a domain's, and the hypervisor does not say which domain's",
        cite=_UNCERTAIN,
        use=FrameUse.DOMAIN,
    ),
    FrameRule(
        name="free-page",
        holder=Holder.NOBODY,
        because="it is free",
        cite=_NOBODY_LOSES,
        use=FrameUse.FREE,
    ),
    FrameRule(
        name="ballooned-page",
        holder=Holder.NOBODY,
        because="its domain has given it back (balloon)",
        cite=_NOBODY_LOSES,
        use=FrameUse.BALLOONED,
    ),
    FrameRule(
        name="offline-page",
        holder=Holder.NOBODY,
        because="it is out of use already",
        cite=_NOBODY_LOSES,
        use=FrameUse.OFFLINE,
    ),
    FrameRule(
        name="no-memory-there",
        holder=Holder.UNKNOWN,
        because="there is no memory at the address: what is bad lies somewhere else",
        cite=_UNCERTAIN,
        use=FrameUse.NOT_MEMORY,
    ),
    FrameRule(
        name="page-of-unknown-use",
        holder=Holder.UNKNOWN,
        because="the hypervisor does not say what it is used for",
        cite=_UNCERTAIN,
    ),
)
"""Who holds a frame. Total over ``FrameSight``."""

MAPPINGS: Final[tuple[MappingRule, ...]] = (
    MappingRule(
        name="mapped-by-a-domain-that-is-gone",
        loses=False,
        because="whoever mapped it is gone",
        cite=_NOBODY_LOSES,
        by=Who.GONE,
    ),
    MappingRule(
        name="mapped-by-dom0-for-another",
        loses=False,
        because="Dom0 maps it on behalf of another (backend, device model): its mapping is taken away and it is told; "
        "that is no loss of its own",
        cite="concept I.2b, I.2c-many",
        by=Who.DOM0,
        own=False,
        kinds=frozenset({MappingKind.CPU, MappingKind.GRANT, MappingKind.FOREIGN, MappingKind.IOMMU}),
    ),
    MappingRule(
        name="mapped",
        loses=True,
        because="it can read the page, and loses what it held",
        cite="concept I.2c-many",
    ),
)
"""Whether whoever maps a frame loses by it. Total over ``MappingSight`` with a domain."""
