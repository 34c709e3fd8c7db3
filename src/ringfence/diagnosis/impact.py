"""Whom an error hit: the consumer and the losers, as values (docs/terms.md, concept B.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ringfence.quick import quick
from ringfence.world.identities import CpuId, DomainId, Frame, GuestFrame


class Certainty(StrEnum):
    """How well a part of an impact is known."""

    PROVEN = "proven"
    """Named evidence says so."""
    UNLOCATED = "unlocated"
    """An unconsumed error whose page cannot be named."""
    UNCONFINED = "unconfined"
    """A consumed error whose effect cannot be bounded."""


class Party(StrEnum):
    """Who can be hit."""

    NOBODY = "nobody"
    HYPERVISOR = "hypervisor"
    DOM0 = "Dom0"
    DOMU = "DomU"


@quick
@dataclass(frozen=True, slots=True)
class Ground:
    """One piece of evidence for or against an impact: the rule's name, a sentence, and its source."""

    rule: str
    because: str
    cite: str = ""
    supports: bool = True


@dataclass(frozen=True, slots=True)
class Consumer:
    """The context that took the error in. ``domain`` is set for Dom0 and a DomU."""

    party: Party
    certainty: Certainty
    domain: DomainId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loser:
    """Whose memory or CPU is gone. ``pages`` are the lost pages in the loser's own frame numbers (L7).

    ``unnumbered`` counts lost pages that are not in ``pages``, as their number in the loser's own counting is not known
    or there are too many to list: it cannot be told of them. Without any page, what it lost is the context of a CPU.
    """

    party: Party
    domain: DomainId | None = None
    pages: tuple[GuestFrame, ...] = ()
    unnumbered: int = 0


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """Whom an error hit, and what speaks for and against it.

    ``frames`` are the host frames that are lost with how many pages each stands for, ``cpu`` the CPU that is lost or
    not to be trusted (None if the error is one of memory). ``losers`` is empty where nobody loses and where nobody can
    be named; ``certainty`` tells these apart: if it is not PROVEN, those named are losers, and there may be others.
    ``left_over``: the error is one of an earlier boot, history only.
    """

    consumer: Consumer
    losers: tuple[Loser, ...]
    certainty: Certainty
    grounds: tuple[Ground, ...]
    frames: tuple[tuple[Frame, int], ...] = ()
    cpu: CpuId | None = None
    left_over: bool = False

    @property
    def worst(self) -> Certainty:
        """The certainty of the part that is known worst."""
        parts = {self.consumer.certainty, self.certainty}
        for certainty in (Certainty.UNCONFINED, Certainty.UNLOCATED):
            if certainty in parts:
                return certainty
        return Certainty.PROVEN
