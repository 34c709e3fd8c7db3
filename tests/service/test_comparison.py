"""The concept against Xen as it is. What is expected stands in concept.md, or in Xen's sources as they are cited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from click.testing import CliRunner

from docs import reference_pages
from ringfence.cli.main import main
from ringfence.hypervisor.model import stage
from ringfence.hypervisor.model.observer import Channel
from ringfence.hypervisor.model.personality import BEHAVIOURS, Behaviour
from ringfence.service.comparison import SIDES, Row, compare, tally
from ringfence.service.comparison_cases import CASES, Case
from ringfence.service.comparison_scene import Dom0End, Ending, GuestEnd, HostEnd, PageEnd

CONCEPT, XEN_4_17, XEN_4_20, IN_DOM0 = range(4)


@pytest.fixture(scope="module")
def rows() -> tuple[Row, ...]:
    return compare()


def case(says: str, platform: str = "cascade-lake") -> Case:
    (found,) = (each for each in CASES if (each.says, each.platform) == (says, platform))
    return found


def on(rows: tuple[Row, ...], says: str, side: int, platform: str = "cascade-lake") -> Ending:
    wanted = case(says, platform)
    return next(row.endings[side] for row in rows if row.case is wanted)


def only_guest(ending: Ending) -> tuple[GuestEnd, tuple[Channel, ...]]:
    (fate,) = ending.guests
    return fate.end, fate.channels


# --- the concept ------------------------------------------------------------------------------------------------------


def test_l4_under_the_concept_a_host_halts_where_it_must_and_nowhere_else(rows: tuple[Row, ...]) -> None:
    for row in rows:
        wanted = HostEnd.HALTS if row.case.must_halt else HostEnd.STANDS
        assert row.endings[CONCEPT].host is wanted, row.case.says
        assert row.endings[CONCEPT].evidence_kept is row.case.must_halt, row.case.says


@pytest.mark.parametrize(
    ("says", "end", "channels"),
    [
        # I.3a-handler: a PV DomU that has a handler is told, and heals itself.
        ("consumed by a PV guest with a handler", GuestEnd.LIVES, (Channel.TRAP,)),
        # I.3a-dom0: without one Dom0 operates on it; the default policy restarts what has no checkpoint.
        ("consumed by a PV guest without one", GuestEnd.RESTARTED, ()),
        # I.3b-inject: an HVM DomU that enabled MCA gets a vMCE.
        ("consumed by an HVM guest with MCA", GuestEnd.LIVES, (Channel.VMCE,)),
        # I.3b-dom0: neither handler nor MCA.
        ("consumed by an HVM guest without MCA", GuestEnd.RESTARTED, ()),
    ],
)
def test_under_the_concept_dom0_is_asked_and_a_guest_is_told_in_its_own_way_or_operated_on(
    rows: tuple[Row, ...], says: str, end: GuestEnd, channels: tuple[Channel, ...]
) -> None:
    ending = on(rows, says, CONCEPT)
    assert only_guest(ending) == (end, channels)
    assert ending.dom0 is Dom0End.ASKED
    assert ending.page in {PageEnd.OUT_OF_USE, PageEnd.UNMAPPED}


def test_l3_a_corrected_error_changes_nothing_for_the_guest_on_any_side(rows: tuple[Row, ...]) -> None:
    for side in range(len(SIDES)):
        assert only_guest(on(rows, "corrected error", side)) == (GuestEnd.LIVES, ())


def test_ii_1_the_concept_acts_ahead_of_a_page_that_keeps_failing_and_xen_does_not(rows: tuple[Row, ...]) -> None:
    says = "stuck cell: twelve corrected errors in a page"
    assert on(rows, says, CONCEPT).page is PageEnd.OUT_OF_USE
    assert on(rows, says, XEN_4_20).page is PageEnd.IN_USE


def test_i_2c_many_each_sharer_of_a_page_goes_by_its_own_row(rows: tuple[Row, ...]) -> None:
    ending = on(rows, "latent, page that two HVM guests share copy-on-write", CONCEPT)
    assert [(fate.name, fate.end, fate.channels) for fate in ending.guests] == [
        ("one", GuestEnd.LIVES, (Channel.VMCE,)),
        ("other", GuestEnd.LIVES, (Channel.VMCE,)),
    ]


def test_i_2u_an_error_that_cannot_be_located_degrades_the_host_and_stops_nobody(rows: tuple[Row, ...]) -> None:
    ending = on(rows, "memory controller cannot say where", CONCEPT)
    assert ending.no_new_guests
    assert only_guest(ending) == (GuestEnd.LIVES, ())


# --- Xen as it is -----------------------------------------------------------------------------------------------------


def test_xen_kills_a_pv_guest_for_a_latent_error(rows: tuple[Row, ...]) -> None:
    # vmce.c, unmmap_broken_page(): -EOPNOTSUPP for who is not HVM; mcaction.c: domain_crash() at vmce_failed.
    assert only_guest(on(rows, "latent, page of a PV guest with a handler", XEN_4_20)) == (GuestEnd.KILLED, ())


def test_xen_panics_for_a_pv_guest_that_consumed_one_although_it_killed_it(rows: tuple[Row, ...]) -> None:
    # mce_intel.c, intel_srar_dhandler(): the result stays MCER_RESET.
    assert on(rows, "consumed by a PV guest with a handler", XEN_4_20).host is HostEnd.PANICS


def test_xen_gives_an_hvm_guest_a_vmce_that_it_did_not_ask_for(rows: tuple[Row, ...]) -> None:
    # vmce.c, inject_vmce(): every HVM guest; one that has not set CR4.MCE shuts down (SDM vol. 3A 2.5).
    assert only_guest(on(rows, "latent, page of an HVM guest without MCA", XEN_4_20)) == (
        GuestEnd.DIES,
        (Channel.VMCE,),
    )
    assert only_guest(on(rows, "latent, page of an HVM guest with MCA", XEN_4_20)) == (
        GuestEnd.LIVES,
        (Channel.VMCE,),
    )


def test_xen_has_a_bug_for_a_shared_page(rows: tuple[Row, ...]) -> None:
    # mcaction.c: BUG_ON(bank->mc_domid == DOMID_COW).
    assert on(rows, "latent, page that two HVM guests share copy-on-write", XEN_4_20).host is HostEnd.PANICS


def test_xen_leaves_a_grant_of_a_lost_page_as_it_is(rows: tuple[Row, ...]) -> None:
    # vmce.c, above unmmap_broken_page(): foreign mapped, granted and shared pages are missing.
    ending = on(rows, "latent, page that an HVM guest has granted to a PV guest", XEN_4_20)
    assert ending.page is PageEnd.IN_USE
    assert [fate.channels for fate in ending.guests if fate.name == "backend"] == [()]


def test_xen_4_17_sees_no_bank_in_a_machine_check(rows: tuple[Row, ...]) -> None:
    # mce.c: a local #MC without a bank ends in "No CPU found valid MCE"; a broadcast one goes by.
    assert on(rows, "consumed by an HVM guest with MCA", XEN_4_17).host is HostEnd.PANICS
    assert on(rows, "fatal: context of a core corrupt", XEN_4_17).is_unseen
    assert on(rows, "latent, free page", XEN_4_17).is_unseen


def test_on_amd_no_xen_lets_a_guest_get_past_a_consumed_error(rows: tuple[Row, ...]) -> None:
    # mce_amd.c has no handlers for mce_action(): what is recoverable is dismissed.
    says = "consumed by an HVM guest with MCA"
    for side in (XEN_4_17, XEN_4_20):
        assert on(rows, says, side, "turin").host is HostEnd.HANGS
    assert only_guest(on(rows, says, CONCEPT, "turin")) == (GuestEnd.LIVES, (Channel.VMCE,))


# --- Ringfence in Dom0's seat -----------------------------------------------------------------------------------------


def test_where_xen_acts_alone_ringfence_loses_no_host_and_no_guest_that_xen_keeps(rows: tuple[Row, ...]) -> None:
    for row in rows:
        alone, with_it = row.endings[XEN_4_20], row.endings[IN_DOM0]
        assert with_it.host is alone.host, row.case.says
        for before, after in zip(alone.guests, with_it.guests, strict=True):
            gone = {GuestEnd.KILLED, GuestEnd.DIES}
            assert (after.end in gone) <= (before.end in gone), row.case.says


# --- all of it --------------------------------------------------------------------------------------------------------


def test_the_concept_loses_no_guest_that_its_host_need_not_take_along(rows: tuple[Row, ...]) -> None:
    concept, *others = tally(rows)
    assert (concept.hosts_stand, concept.guests_lost) == (concept.hosts, 0)
    assert (concept.unseen, concept.ran_on) == (0, 0)
    for each in others:
        assert each.guests_live + each.guests_renewed + each.guests_lost == each.guests
        assert each.guests_lost > 0


def test_the_same_cases_end_the_same_twice(rows: tuple[Row, ...]) -> None:
    some = rows[::5]
    assert compare(tuple(row.case for row in some)) == some


def changed(name: str, **fields: bool) -> Mapping[str, Behaviour]:
    """The table of personalities with one changed."""
    other = replace(BEHAVIOURS[name], **fields)  # type: ignore[arg-type]  # mypy sees one type for all fields
    return MappingProxyType({**BEHAVIOURS, name: other})


def test_a_xen_4_17_that_saw_its_banks_would_end_as_4_20_does(
    rows: tuple[Row, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "BEHAVIOURS", changed("xen-4.17", scans_on_machine_check=True))
    says = "consumed by an HVM guest with MCA"
    (row,) = compare((case(says),))
    assert row.endings[XEN_4_17] == row.endings[XEN_4_20] != on(rows, says, XEN_4_17)


def test_a_concept_whose_host_could_not_unmap_pages_of_pv_guests_would_end_otherwise(
    rows: tuple[Row, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "BEHAVIOURS", changed("concept", unmaps_all_kinds=False))
    says = "latent, page of a PV guest with a handler"
    (row,) = compare((case(says),))
    assert row.endings[CONCEPT] != on(rows, says, CONCEPT)


# --- as its users see it ----------------------------------------------------------------------------------------------


def test_compare_as_json_is_a_line_for_each_case_with_an_ending_for_each_side() -> None:
    result = CliRunner().invoke(main, ["compare", "--json"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert [(line["platform"], line["case"]) for line in lines] == [(each.platform, each.says) for each in CASES]
    assert {tuple(line["endings"]) for line in lines} == {tuple(side.name for side in SIDES)}


def test_compare_in_words_names_every_case_and_counts_at_the_end(rows: tuple[Row, ...]) -> None:
    output = CliRunner().invoke(main, ["compare"]).output
    assert all(f"{row.case.platform}: {row.case.says}\n" in output for row in rows)
    concept = tally(rows)[CONCEPT]
    assert f"{concept.hosts_stand} of {concept.hosts} hosts stand" in output.split("In all\n")[1].splitlines()[0]


def test_the_page_has_a_row_of_four_endings_for_each_case(rows: tuple[Row, ...]) -> None:
    page = reference_pages.PAGES["docs/reference/today.md"]()
    for row in rows:
        assert f"| {row.case.says} | {' | '.join(map(str, row.endings))} |" in page
