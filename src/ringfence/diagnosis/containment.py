"""Who is hit: the impact of an error on the host, with the evidence for and against it.

Small ordered tables decide, each over facts that can be enumerated: who consumed it (``containment_consumer``), whose
the pages are, who loses by a mapping, and whether all losers are known (``containment_losers``).
"""

from __future__ import annotations

from functools import cache

from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.containment_consumer import CONSUMER, ConsumerRule
from ringfence.diagnosis.containment_facts import (
    ConsumerFacts,
    Extent,
    Kind,
    LoserFacts,
    Region,
    Who,
    consumer_facts,
    deciding,
    frames_of,
    gaps,
    is_context_corrupt,
    is_past,
    kind_of,
    region_of,
    who,
)
from ringfence.diagnosis.containment_grounds import Seen, grounds_beside
from ringfence.diagnosis.containment_holdings import Holding, holding, losers_of, party_of
from ringfence.diagnosis.containment_losers import LOSERS, Holder, LoserRule
from ringfence.diagnosis.finding import Finding
from ringfence.diagnosis.impact import Consumer, Ground, Impact, Party
from ringfence.world.frames import FrameFacts
from ringfence.world.identities import CpuId, DomainId, Frame
from ringfence.world.situation import Deed, Situation


def contain(finding: Finding, situation: Situation) -> Impact:
    """Whom an error hit; a pure function, total over findings and situations.

    The grounds begin with the rule that decided about the consumer and the one that decided about the losers.
    """
    region = region_of(finding)
    frames = frames_of(region, situation)
    holdings = tuple(holding(frame, situation) for frame in frames)
    consumer_rule = _consumer_rule(finding, situation)
    consumer = _consumer(consumer_rule, situation)
    casualty = _is_casualty(consumer, finding, situation)
    extent = _extent(region, frames, holdings)
    past = is_past(finding, situation)
    facts = LoserFacts(
        past=past,
        kind=kind_of(finding),
        poisons=situation.platform.poisons is not False,
        extent=extent,
        context_lost=casualty,
        held=any(True for each in holdings for _ in each.losers()),
    )
    rule = _loser_rule(facts)
    beside = ((consumer.party, consumer.domain),) if casualty and rule.names else ()
    acted_upon = _acted_upon(situation) if not past and facts.kind is not Kind.NOTHING_LOST else ()
    seen = Seen(
        finding=finding, situation=situation, region=region, holdings=holdings, extent=extent, consumer=consumer
    )
    return Impact(
        consumer=consumer,
        losers=losers_of(holdings if rule.names else (), (*beside, *acted_upon)),
        certainty=rule.certainty,
        grounds=(
            Ground(consumer_rule.name, consumer_rule.because, consumer_rule.cite),
            Ground(rule.name, rule.because, rule.cite),
            *grounds_beside(seen),
        ),
        frames=_lost_frames(region, frames, together=not past and facts.kind is not Kind.NOTHING_LOST),
        cpu=None if past else _cpu(finding, situation, extent),
        left_over=past,
    )


def _consumer_rule(finding: Finding, situation: Situation) -> ConsumerRule:
    return _deciding_consumer(consumer_facts(finding, situation))


# What the rules look at are a few closed choices: what was decided about them once is decided.


@cache
def _deciding_consumer(facts: ConsumerFacts) -> ConsumerRule:
    return deciding((rule for rule in CONSUMER if rule.matches(facts)), facts)


@cache
def _loser_rule(facts: LoserFacts) -> LoserRule:
    return deciding((rule for rule in LOSERS if rule.matches(facts)), facts)


def _consumer(rule: ConsumerRule, situation: Situation) -> Consumer:
    is_domain = rule.party in {Party.DOM0, Party.DOMU}
    return Consumer(rule.party, rule.certainty, situation.running.domain if is_domain else None)


def _acted_upon(situation: Situation) -> tuple[tuple[Party, DomainId | None], ...]:
    """The domains that the hypervisor itself killed or told over this error: it knew that they lose by it."""
    deeds = {Deed.KILLED_DOMAIN, Deed.INJECTED_VMCE, Deed.NOTIFIED_GUEST}
    return tuple(
        (party_of(done.domain), done.domain)
        for done in situation.already_done
        if done.deed in deeds and done.domain is not None
    )


def _is_casualty(consumer: Consumer, finding: Finding, situation: Situation) -> bool:
    """Whether the consumer itself is a loser: it is proven, still there, and cannot be resumed."""
    if consumer.party is Party.NOBODY or who(consumer.domain, situation) is Who.GONE:
        return False
    return finding.verdict.interrupted_context_lost is True


def _extent(region: Region | None, frames: tuple[FrameFacts, ...], holdings: tuple[Holding, ...]) -> Extent:
    if region is None:
        return Extent.NOTHING
    doubtful = any(each.rule.holder is Holder.UNKNOWN for each in holdings)
    return Extent.PARTLY if doubtful or gaps(region, frames) else Extent.WHOLE


def _lost_frames(
    region: Region | None, frames: tuple[FrameFacts, ...], *, together: bool
) -> tuple[tuple[Frame, int], ...]:
    """The frames that were hit. ``together``: with all that are lost with them as parts of one superpage."""
    if region is None:
        return ()
    listed = {(frame.frame, frame.pages) if together else region.share(frame) for frame in frames}
    return tuple(sorted({*listed, *gaps(region, frames)}))


def _cpu(finding: Finding, situation: Situation, extent: Extent) -> CpuId | None:
    """The CPU that is not to be trusted: its context is corrupt, or it lost data of its own and not of a page."""
    if kind_of(finding) is Kind.NOTHING_LOST:
        return None
    own = finding.reading.unit_kind is UnitKind.CORE and extent is Extent.NOTHING
    if not own and not is_context_corrupt(finding):
        return None
    if situation.running.cpu is not None:
        return situation.running.cpu
    return None if finding.record.cpu is None else CpuId(finding.record.cpu)
