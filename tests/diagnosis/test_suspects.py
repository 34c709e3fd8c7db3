"""What the spread of corrected errors points at.

The patterns are those of the field studies: single bit, row, column, whole chip (Li, Huang, Shen, USENIX ATC 2010);
pin, rank, bank, row, column, bit (Roberts, Nair, FaultSim); controller and channel (Meza et al., DSN 2015).
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis import spread as bounds
from ringfence.diagnosis.spread import Sighting, Spread, fold, spread_of
from ringfence.diagnosis.suspects import GRADES, RULES, SUSPECTS_NAMED, Grade, Suspected, suspects
from ringfence.record.evidence import Location
from ringfence.world.identities import CpuId, Frame
from ringfence.world.situation import Suspect

HERE = Location(socket=0, controller=1, channel=2, slot=0, rank=1, bank_group=0, bank=3, row=0x12, column=0x40)


def at(place: Location = HERE, *, count: int = 1, syndrome: int | None = 0x1B, frame: int = 0x77) -> Sighting:
    return Sighting(1, count, syndrome, Frame(frame), None, place, "", UnitKind.MEMORY)


def of_core(cpu: int, unit: str = "Load-Store unit", *, socket: int = 0) -> Sighting:
    return Sighting(1, 1, None, None, CpuId(cpu), Location(socket=socket), unit, UnitKind.CORE)


def found(*sightings: Sighting) -> list[tuple[str, str, str]]:
    return [(each.rule, each.name, each.grade) for each in suspects(spread_of(sightings)).suspects]


def best(*sightings: Sighting) -> Suspected:
    return suspects(spread_of(sightings)).suspects[0]


def rows(number: int) -> list[Sighting]:
    return [at(replace(HERE, row=n), frame=n) for n in range(number)]


DIMM = "socket 0 controller 1 channel 2 slot 0"
BANK = f"{DIMM} rank 1 bank group 0 bank 3"


def test_one_error_accuses_nobody() -> None:
    assert found(at()) == []
    assert found() == []


def test_the_same_cell_again_and_again_is_one_cell_and_its_page() -> None:
    """A single stuck bit: the commonest fault of the studies."""
    stuck = spread_of(at() for _ in range(1000))
    assert [(each.suspect, each.errors, each.places) for each in suspects(stuck).suspects] == [
        (Suspect.CELL, 1000, 1), (Suspect.PAGE, 1000, 1),
    ]  # fmt: skip


def test_in_memory_it_does_not_matter_which_cpu_polled_the_bank() -> None:
    stuck = spread_of(replace(at(), cpu=CpuId(cpu)) for cpu in range(8))
    assert [hits.errors for hits in stuck.spots.values()] == [8]


def test_one_row_at_many_columns_is_a_row() -> None:
    seen = [at(replace(HERE, column=n)) for n in range(5)]
    assert best(*seen).suspect is Suspect.ROW
    assert best(*seen).name == f"{BANK} row 0x12"
    assert best(*seen).grade is Grade.STRONG


def test_one_column_at_many_rows_is_a_column() -> None:
    assert found(*rows(5)) == [("column", f"{BANK} column 0x40", "strong")]


def test_many_rows_and_columns_of_one_bank_are_a_bank() -> None:
    seen = [at(replace(HERE, row=n, column=7 * n), frame=n) for n in range(4)]
    assert found(*seen) == [("bank", BANK, "strong")]


def test_one_data_line_over_many_banks_is_a_pin_and_one_chip_with_several_is_the_chip() -> None:
    pin = [at(replace(HERE, bank=n, dq=17, device=4), frame=n) for n in range(4)]
    assert best(*pin).name == f"{DIMM} rank 1 DQ 17"
    chip = [at(replace(HERE, bank=n, device=4), frame=n, syndrome=n) for n in range(4)]
    assert best(*chip).name == f"{DIMM} rank 1 device 4"
    assert best(*pin).suspect is best(*chip).suspect is Suspect.DEVICE


def test_where_neither_chip_nor_pin_is_told_the_same_syndrome_stands_for_them() -> None:
    seen = [at(replace(HERE, bank=n), frame=n) for n in range(4)]
    assert best(*seen).rule == "same-syndrome"
    assert ("banks-of-a-rank", f"{DIMM} rank 1", "possible") in found(*seen)


def test_different_syndromes_of_one_rank_are_the_rank_and_a_raw_count_is_not() -> None:
    """B.8 (msg01049): raw counts predict little, distinct syndromes from one chip select do."""
    seen = [at(replace(HERE, row=None, column=None, bank=None), syndrome=n, frame=n) for n in (1, 2, 3)]
    accused = best(*seen)
    assert (accused.suspect, accused.name, accused.distinct) == (Suspect.RANK, f"{DIMM} rank 1", 3)
    same = [at(replace(HERE, row=None, column=None, bank=None), frame=n) for n in range(300)]
    assert [each for each in found(*same) if "rank" in each[0]] == []


def test_both_ranks_of_a_dimm_are_the_dimm() -> None:
    seen = [at(replace(HERE, rank=n % 2, row=n), frame=n) for n in range(6)]
    assert ("ranks-of-a-dimm", DIMM, "likely") in found(*seen)


def test_both_dimms_of_a_channel_are_the_channel_and_two_channels_the_controller() -> None:
    """Meza et al., DSN 2015: not the DRAM, but the memory controller and the channel cause the majority of errors."""
    dimms = [at(replace(HERE, slot=n % 2, row=n), frame=n, syndrome=n) for n in range(6)]
    assert ("dimms-of-a-channel", "socket 0 controller 1 channel 2", "likely") in found(*dimms)
    channels = [at(replace(HERE, channel=n % 3, row=n), frame=n, syndrome=n) for n in range(6)]
    assert ("channels-of-a-controller", "socket 0 controller 1", "strong") in found(*channels)
    controllers = [at(replace(HERE, controller=n % 3, row=n), frame=n) for n in range(6)]
    assert ("memory-of-a-socket", "socket 0", "strong") in found(*controllers)


def test_many_pages_for_one_cell_are_an_alias() -> None:
    seen = [at(frame=n) for n in range(4)]
    accused = next(each for each in suspects(spread_of(seen)).suspects if each.rule == "alias")
    assert (accused.suspect, accused.grade) == (Suspect.CELL, Grade.POSSIBLE)
    assert accused.speaks_for[1] == "4 errors in 4 places: 4 pages"


def test_cores_caches_links_and_sockets() -> None:
    assert found(of_core(5), of_core(5)) == [("core", "CPU 5", "strong")]
    assert ("shared-cache", "socket 0 L3 Cache", "possible") in found(of_core(5, "L3 Cache"), of_core(6, "L3 Cache"))
    shared = [of_core(cpu, unit) for cpu, unit in ((1, "a"), (2, "b"), (3, "c"))]
    assert found(*shared) == [("cores-of-a-socket", "socket 0", "strong")]
    link = Sighting(1, 1, None, None, CpuId(0), Location(socket=1), "UPI 2", UnitKind.LINK)
    assert found(link, link) == [("link", "socket 1 UPI 2", "strong")]


def test_the_evidence_for_and_against_is_said() -> None:
    elsewhere = at(replace(HERE, bank=9, row=1, column=2), count=7, frame=9)
    accused = next(
        each for each in suspects(spread_of([at(replace(HERE, column=1)), at(), elsewhere])).suspects
        if each.rule == "row"
    )  # fmt: skip
    assert accused.speaks_for == ("one row at several columns", "2 errors in 2 places: 2 columns")
    assert accused.speaks_against == (
        "7 errors in 1 place around it are not of it",
        "two only: it may be chance, or an address that was decoded wrongly",
    )
    assert accused.grade is Grade.POSSIBLE


@pytest.mark.parametrize(
    ("inside", "outside", "grade"),
    [(5, 0, "strong"), (2, 0, "likely"), (6, 2, "likely"), (3, 1, "likely"), (5, 2, "possible"), (9, 4, "possible")],
)
def test_a_grade_follows_from_the_share_of_places(inside: int, outside: int, grade: str) -> None:
    of_it = [at(replace(HERE, column=n)) for n in range(inside)]
    others = [at(replace(HERE, bank=8 + n, row=1, column=0, device=n), frame=n, syndrome=n) for n in range(outside)]
    assert ("row", f"{BANK} row 0x12", grade) in found(*of_it, *others)
    assert set(GRADES) == set(Grade)


# --- laws -------------------------------------------------------------------------------------------------------------

few = st.integers(0, 2)
maybe = st.none() | few
locations = st.builds(
    Location, socket=maybe, controller=maybe, channel=maybe, slot=maybe, rank=maybe, bank=maybe, row=maybe,
    column=maybe, device=maybe, dq=maybe, label=st.none() | st.sampled_from(["A1", "B1"]),
)  # fmt: skip
sightings = st.builds(
    Sighting, at_ms=st.integers(0, 99), count=st.integers(1, 9), syndrome=maybe, frame=st.none() | few.map(Frame),
    cpu=st.none() | few.map(CpuId), location=locations, unit=st.sampled_from(["", "L2 Cache", "UPI 1"]),
    kind=st.sampled_from(UnitKind),
)  # fmt: skip
histories = st.lists(sightings, max_size=14)


@given(histories, st.randoms())
def test_the_order_in_which_errors_came_does_not_matter(history: list[Sighting], chance: Random) -> None:
    shuffled = sorted(history, key=lambda _: chance.random())
    assert suspects(spread_of(history)) == suspects(spread_of(shuffled))


@given(histories, sightings)
def test_more_evidence_never_lowers_a_count_and_never_clears_a_suspect(history: list[Sighting], more: Sighting) -> None:
    counts = {(each.rule, each.name): (each.errors, each.places, each.distinct) for each in _all(history)}
    after = {(each.rule, each.name): (each.errors, each.places, each.distinct) for each in _all([*history, more])}
    assert all(all(n <= m for n, m in zip(counts[key], after[key], strict=True)) for key in counts)


def _all(history: list[Sighting]) -> tuple[Suspected, ...]:
    suspicion = suspects(spread_of(history))
    assert not suspicion.left_off or len(suspicion.suspects) == SUSPECTS_NAMED
    return () if suspicion.left_off else suspicion.suspects


@given(histories)
def test_no_suspect_without_evidence(history: list[Sighting]) -> None:
    total = sum(each.count for each in history)
    for each in suspects(spread_of(history)).suspects:
        assert 2 <= each.errors <= total
        assert 1 <= each.places <= len(history)
        assert each.speaks_for


@given(histories.filter(bool), st.integers(1, 50))
def test_a_place_that_errs_more_often_weighs_no_more(history: list[Sighting], times: int) -> None:
    once, often = spread_of(history), spread_of([*history, *[history[0]] * times])
    assert once.spots.keys() == often.spots.keys()
    assert often.errors == once.errors + times * history[0].count


def test_the_places_kept_are_bounded_and_every_error_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SPOTS_KEPT", 4)
    spread = Spread({})
    for each in rows(10):
        fold(spread, replace(each, count=3))
    assert (len(spread.spots), spread.errors, spread.beyond) == (4, 30, 18)
    assert suspects(spread).suspects[0].grade is Grade.LIKELY
    assert "of 18 further errors the places are not kept" in suspects(spread).suspects[0].speaks_against


def test_a_host_that_errs_everywhere_has_a_bounded_list_and_says_so() -> None:
    many = [at(replace(HERE, slot=n), frame=n, count=2) for n in range(60)]
    suspicion = suspects(spread_of(many))
    assert len(suspicion.suspects) == SUSPECTS_NAMED
    assert suspicion.left_off == 2 * 60 + 1 - SUSPECTS_NAMED


def test_every_rule_is_reached_and_no_name_is_used_twice() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    chance = Random(4)
    reached: set[str] = set()
    for _ in range(60):
        spread = Spread({})
        for _ in range(12):
            place = Location(
                socket=0, controller=chance.randrange(2), channel=chance.randrange(2), slot=chance.randrange(2),
                rank=chance.randrange(2), bank=chance.randrange(2), row=chance.randrange(2), column=chance.randrange(2),
                device=chance.choice((None, 1)), dq=chance.choice((None, None, 1)),
            )  # fmt: skip
            fold(spread, at(place, syndrome=chance.randrange(2), frame=chance.randrange(3)))
            fold(spread, of_core(chance.randrange(3), chance.choice(("L2 Cache", "LS"))))
            fold(spread, Sighting(1, 1, None, None, None, Location(socket=0), "UPI 1", UnitKind.LINK))
        reached |= {each.rule for each in _every(spread)}
    assert reached == {rule.name for rule in RULES}


def _every(spread: Spread) -> tuple[Suspected, ...]:
    """The suspects of each kind of unit on its own, so that none is left off for another's sake."""
    found: list[Suspected] = []
    for kind in UnitKind:
        part = Spread({spot: hits for spot, hits in spread.spots.items() if spot.kind is kind}, spread.errors)
        found += suspects(part).suspects
    return tuple(found)
