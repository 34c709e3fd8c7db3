"""The tables of containment, enumerated: total, every rule reached and needed, and each outcome as a law states it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Protocol, TypeVar

import pytest

from ringfence.diagnosis.containment_consumer import CONSUMER
from ringfence.diagnosis.containment_facts import (
    ConsumerFacts,
    Extent,
    FrameSight,
    Kind,
    LoserFacts,
    MappingSight,
    Tie,
    Who,
    deciding,
)
from ringfence.diagnosis.containment_losers import FRAMES, LOSERS, MAPPINGS, Holder
from ringfence.diagnosis.impact import Certainty, Party
from ringfence.errors import DeclarationError
from ringfence.world.frames import FrameUse, MappingKind
from ringfence.world.situation import Context

BOTH = (False, True)
RANK = {Certainty.PROVEN: 0, Certainty.UNLOCATED: 1, Certainty.UNCONFINED: 2}

EVERY_CONSUMER = [
    ConsumerFacts(past=past, kind=kind, poisons=poisons, tie=tie, context=context, ran=ran, known_case=known)
    for past, kind, poisons, tie, context, ran, known in product(BOTH, Kind, BOTH, Tie, Context, Who, BOTH)
]
EVERY_LOSER = [
    LoserFacts(past=past, kind=kind, poisons=poisons, extent=extent, context_lost=lost, held=held)
    for past, kind, poisons, extent, lost, held in product(BOTH, Kind, BOTH, Extent, BOTH, BOTH)
]
EVERY_FRAME = [FrameSight(use, owner) for use, owner in product(FrameUse, Who)]
EVERY_MAPPING = [MappingSight(kind, by, own) for kind, by, own in product(MappingKind, Who, BOTH)]

Facts_contra = TypeVar("Facts_contra", contravariant=True)
Facts = TypeVar("Facts")


class Rule(Protocol[Facts_contra]):
    @property
    def name(self) -> str: ...
    @property
    def because(self) -> str: ...
    @property
    def cite(self) -> str: ...
    def matches(self, facts: Facts_contra, /) -> bool: ...


def check_table(table: Sequence[Rule[Facts]], every: Sequence[Facts]) -> None:
    """Total; every rule decides somewhere, has a name, sentence and source of its own; the last asks for nothing."""
    decides = [next((rule.name for rule in table if rule.matches(facts)), None) for facts in every]
    assert None not in decides
    assert set(decides) == {rule.name for rule in table}
    assert len({rule.name for rule in table}) == len(table)
    assert len({rule.because for rule in table}) == len(table)
    assert all(rule.because and rule.cite for rule in table)
    assert all(table[-1].matches(facts) for facts in every)


def test_the_table_of_consumers_is_total_and_each_rule_decides_somewhere() -> None:
    check_table(CONSUMER, EVERY_CONSUMER)


def test_the_table_of_losers_is_total_and_each_rule_decides_somewhere() -> None:
    check_table(LOSERS, EVERY_LOSER)


def test_the_table_of_frames_is_total_and_each_rule_decides_somewhere() -> None:
    check_table(FRAMES, EVERY_FRAME)


def test_the_table_of_mappings_is_total_and_each_rule_decides_somewhere() -> None:
    check_table(MAPPINGS, EVERY_MAPPING)


def test_no_two_tables_have_a_rule_of_the_same_name() -> None:
    names = [rule.name for table in (CONSUMER, LOSERS, FRAMES, MAPPINGS) for rule in table]
    assert len(set(names)) == len(names)


def test_a_table_with_a_hole_says_so() -> None:
    with pytest.raises(DeclarationError, match="no rule matches"):
        deciding(iter(()), EVERY_FRAME[0])


def consumer(facts: ConsumerFacts) -> tuple[Party, Certainty]:
    rule = next(rule for rule in CONSUMER if rule.matches(facts))
    return rule.party, rule.certainty


def loser(facts: LoserFacts) -> tuple[Certainty, bool]:
    rule = next(rule for rule in LOSERS if rule.matches(facts))
    return rule.certainty, rule.names


def somebody(facts: ConsumerFacts) -> Party | None:
    """Who consumed it, if the evidence suffices to name one."""
    if facts.past or facts.kind is not Kind.CONSUMED or not facts.poisons or facts.tie is not Tie.THIS:
        return None
    match facts.context, facts.ran:
        case ((Context.HYPERVISOR | Context.IDLE), _):
            return Party.HYPERVISOR
        case Context.GUEST, Who.DOM0:
            return Party.DOM0
        case Context.GUEST, (Who.DOMU | Who.GONE):
            return Party.DOMU
        case _:
            return None


def nobody(facts: ConsumerFacts) -> bool:
    """Whether the evidence says that there is no consumer to care for."""
    if facts.past or facts.kind is Kind.NOTHING_LOST:
        return True
    if facts.kind is Kind.FATAL or not facts.poisons:
        return False
    copy = facts.tie is Tie.ELSEWHERE and facts.known_case
    return facts.kind is Kind.UNCONSUMED or copy


def test_a_consumer_is_named_only_by_a_consumed_error_of_now_that_is_tied_to_a_known_context() -> None:
    for facts in EVERY_CONSUMER:
        if (party := somebody(facts)) is not None:
            assert consumer(facts) == (party, Certainty.PROVEN), facts
        elif nobody(facts):
            assert consumer(facts) == (Party.NOBODY, Certainty.PROVEN), facts
        else:
            assert consumer(facts) == (Party.NOBODY, Certainty.UNCONFINED), facts


def test_who_ran_on_the_cpu_never_matters_unless_the_error_was_consumed() -> None:
    seen: dict[tuple[bool, Kind, bool], set[tuple[Party, Certainty]]] = {}
    for facts in EVERY_CONSUMER:
        if facts.kind is not Kind.CONSUMED:
            seen.setdefault((facts.past, facts.kind, facts.poisons), set()).add(consumer(facts))
    assert all(len(outcomes) == 1 for outcomes in seen.values())


def expected_certainty(facts: LoserFacts) -> Certainty:
    if facts.past or facts.kind is Kind.NOTHING_LOST:
        return Certainty.PROVEN
    if facts.kind is Kind.FATAL or not facts.poisons:
        return Certainty.UNCONFINED
    if facts.extent is Extent.WHOLE:
        return Certainty.PROVEN
    return Certainty.UNCONFINED if facts.kind is Kind.CONSUMED else Certainty.UNLOCATED


def test_all_losers_are_known_only_if_every_page_and_whose_it_is_is_known() -> None:
    for facts in EVERY_LOSER:
        certainty, names = loser(facts)
        assert certainty is expected_certainty(facts), facts
        if facts.past or facts.kind is Kind.NOTHING_LOST:
            assert not names
        elif facts.context_lost and facts.kind is Kind.CONSUMED:
            assert names, "the consumer whose context is lost is a loser"
        elif facts.held and facts.extent is not Extent.NOTHING:
            assert names, facts


def test_to_know_less_of_the_pages_never_makes_an_impact_look_better() -> None:
    order = (Extent.WHOLE, Extent.PARTLY, Extent.NOTHING)
    for facts in EVERY_LOSER:
        worse = [
            LoserFacts(
                past=facts.past,
                kind=facts.kind,
                poisons=facts.poisons,
                extent=extent,
                context_lost=facts.context_lost,
                held=facts.held,
            )
            for extent in order[order.index(facts.extent) :]
        ]
        assert all(RANK[loser(less)[0]] >= RANK[loser(facts)[0]] for less in worse)


def test_to_know_less_of_what_ran_never_makes_a_consumer_look_better() -> None:
    for facts in EVERY_CONSUMER:
        for tie in set(Tie) - {Tie.ELSEWHERE}:
            if facts.tie is Tie.THIS:
                less = ConsumerFacts(
                    past=facts.past,
                    kind=facts.kind,
                    poisons=facts.poisons,
                    tie=tie,
                    context=Context.UNKNOWN,
                    ran=Who.NOBODY,
                    known_case=False,
                )
                assert RANK[consumer(less)[1]] >= RANK[consumer(facts)[1]]


HELD_BY_NOBODY = {FrameUse.FREE, FrameUse.BALLOONED, FrameUse.OFFLINE}


def test_a_page_is_held_by_the_hypervisor_or_by_its_living_owner_or_by_nobody_or_nobody_knows() -> None:
    for sight in EVERY_FRAME:
        holder = next(rule.holder for rule in FRAMES if rule.matches(sight))
        if sight.use is FrameUse.HYPERVISOR:
            assert holder is Holder.HYPERVISOR
        elif sight.use in HELD_BY_NOBODY:
            assert holder is Holder.NOBODY
        elif sight.use in {FrameUse.UNKNOWN, FrameUse.NOT_MEMORY}:
            assert holder is Holder.UNKNOWN
        else:
            assert sight.use is FrameUse.DOMAIN
            owners = {
                Who.NOBODY: Holder.UNKNOWN,
                Who.GONE: Holder.NOBODY,
                Who.SHARERS: Holder.NOBODY,
                Who.DOM0: Holder.OWNER,
                Who.DOMU: Holder.OWNER,
            }
            assert holder is owners[sight.owner]


def test_whoever_maps_a_page_loses_by_it_but_the_gone_and_dom0_for_another() -> None:
    for sight in EVERY_MAPPING:
        loses = next(rule.loses for rule in MAPPINGS if rule.matches(sight))
        as_backend = sight.by is Who.DOM0 and not sight.own and sight.kind is not MappingKind.SHARED
        assert loses is not (sight.by is Who.GONE or as_backend)
