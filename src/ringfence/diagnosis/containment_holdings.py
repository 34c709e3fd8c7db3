"""Who loses by the pages that were hit: each page's holder and each of its mappings, judged by their tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from ringfence.diagnosis.containment_facts import FrameSight, MappingSight, deciding, who
from ringfence.diagnosis.containment_losers import FRAMES, MAPPINGS, FrameRule, Holder, MappingRule
from ringfence.diagnosis.impact import Loser, Party
from ringfence.world.frames import FrameFacts, Mapping
from ringfence.world.identities import DOM0, DomainId, GuestFrame
from ringfence.world.situation import Situation

MOST_LISTED_PAGES: Final = 512 * 512
"""Lost pages that are listed by number for one loser (1 GiB); what is beyond that is only counted."""


@dataclass(frozen=True, slots=True)
class Holding:
    """One page (or superpage) with the rules that say who loses by it."""

    frame: FrameFacts
    rule: FrameRule
    mappings: tuple[tuple[Mapping, MappingRule], ...]

    def losers(self) -> Iterator[tuple[Party, DomainId | None]]:
        """Whoever loses by it, perhaps more than once."""
        if self.rule.holder is Holder.HYPERVISOR:
            yield Party.HYPERVISOR, None
        elif self.rule.holder is Holder.OWNER and self.frame.owner is not None:
            yield party_of(self.frame.owner), self.frame.owner
        for mapping, rule in self.mappings:
            if rule.loses:
                yield party_of(mapping.domain), mapping.domain

    def places(self, domain: DomainId) -> list[GuestFrame]:
        """The numbers at which ``domain`` has it, each that of its first page.

        An owner keeps its number when its mapping was taken away: it has to be told of the page all the same.
        """
        numbers = {mapping.guest_frame for mapping, _ in self.mappings if mapping.domain == domain}
        if domain == self.frame.owner:
            numbers.add(self.frame.guest_frame)
        return sorted(number for number in numbers if number is not None)


def party_of(domain: DomainId) -> Party:
    """What sort of party a domain is."""
    return Party.DOM0 if domain == DOM0 else Party.DOMU


def holding(frame: FrameFacts, situation: Situation) -> Holding:
    """Who loses by one page."""
    return Holding(
        frame,
        _frame_rule(FrameSight(frame.use, who(frame.owner, situation))),
        tuple((mapping, _mapping_rule(frame, mapping, situation)) for mapping in frame.mappings),
    )


def _mapping_rule(frame: FrameFacts, mapping: Mapping, situation: Situation) -> MappingRule:
    return _deciding_mapping(MappingSight(mapping.kind, who(mapping.domain, situation), mapping.domain == frame.owner))


# What the rules look at are a few closed choices: what was decided about them once is decided.


@cache
def _frame_rule(sight: FrameSight) -> FrameRule:
    return deciding((rule for rule in FRAMES if rule.matches(sight)), sight)


@cache
def _deciding_mapping(sight: MappingSight) -> MappingRule:
    return deciding((rule for rule in MAPPINGS if rule.matches(sight)), sight)


@dataclass(slots=True)
class _Loss:
    pages: set[GuestFrame] = field(default_factory=set)
    unnumbered: int = 0


def losers_of(holdings: Iterable[Holding], beside: tuple[tuple[Party, DomainId | None], ...] = ()) -> tuple[Loser, ...]:
    """Everybody who loses by these pages and those ``beside`` them: the hypervisor, Dom0, the DomUs by their number."""
    found: dict[tuple[Party, DomainId | None], _Loss] = {each: _Loss() for each in beside}
    for each in holdings:
        for party, domain in set(each.losers()):
            loss = found.setdefault((party, domain), _Loss())
            if domain is not None:
                _add(loss, each, domain)
    order = list(Party)
    return tuple(
        Loser(party=party, domain=domain, pages=tuple(sorted(loss.pages)), unnumbered=loss.unnumbered)
        for (party, domain), loss in sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1] or 0))
    )


def _add(loss: _Loss, lost: Holding, domain: DomainId) -> None:
    """One page more for a loser: by number as long as there is room, else in the count."""
    places = lost.places(domain)
    if not places:
        loss.unnumbered += lost.frame.pages
    for first in places:
        listed = min(lost.frame.pages, MOST_LISTED_PAGES - len(loss.pages))
        loss.pages.update(map(GuestFrame, range(first, first + listed)))
        loss.unnumbered += lost.frame.pages - listed
