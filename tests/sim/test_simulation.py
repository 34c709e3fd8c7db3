"""Simulated hours of a host on which everything goes wrong break no law; and the simulator itself is what it says."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.flow import Event, State
from ringfence.decision.laws import Law
from ringfence.hypervisor.model.observer import Carried, GuestTold, Halted
from ringfence.journal.events import Closed, Unread, to_text
from ringfence.journal.store import Journal
from ringfence.service import simulation
from ringfence.service.loop import Loop
from ringfence.service.simulation import run as run_module
from ringfence.service.simulation.acts import Act, Busy, MemoryHit, Place, Script, Unit, Way
from ringfence.service.simulation.scenario import SCENARIOS, Mishap, Scenario
from ringfence.service.simulation.script import from_lines, script, to_lines
from ringfence.service.simulation.simulate import (
    Failure,
    play,
    read_replay,
    shrink,
    simulate,
    write_replay,
)
from ringfence.service.simulation.trace import Trace
from tests.sim import bugs


def journal_of(trace: Trace) -> str:
    return "\n".join(to_text(event) for _, event in trace.journal if not isinstance(event, Unread))


# --- the laws hold ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_some_hours_of_each_scenario_break_no_law(name: str) -> None:
    for seed in (1, 2):
        _, broken = play(SCENARIOS[name], script(SCENARIOS[name], seed, 4), seed=seed, hours=4)
        assert broken == ()


def test_a_day_goes_through_all_that_there_is() -> None:
    report = simulate(SCENARIOS["default"], range(1, 4), 24, processes=1)
    assert report.failure is None
    tally = report.tally
    assert tally.errors > 300
    assert min(tally.uncorrected, tally.corrected, tally.decisions, tally.questions) > 100
    assert tally.kills > 10
    assert min(tally.vmces, tally.notices, tally.orders, tally.resumed, tally.reboots) > 0


def short(guest: str, *acts: Act) -> tuple[Scenario, Script]:
    scenario = SCENARIOS["quiet"]
    guests = tuple(each for each in scenario.guests if each.name in {guest, "pv-trap"})
    return replace(scenario, guests=guests, other_host=False), acts


TWO_ERRORS = short(
    "hvm-plain",
    *(
        MemoryHit(at_ms=2_000 + 10 * page, way=Way.WRITTEN_BACK, place=Place.GUEST, domain="hvm-plain", page=page)
        for page in range(2)
    ),
    MemoryHit(at_ms=5_000, way=Way.READ, place=Place.GUEST, domain="pv-trap", page=9),
)
HALT = short("hvm-plain", MemoryHit(at_ms=2_000, way=Way.WRITTEN_BACK, place=Place.XEN_VITAL, domain="pv-trap", page=1))


ALONE = (replace(TWO_ERRORS[0], personality="xen-4.20"), TWO_ERRORS[1])


@pytest.mark.parametrize(
    "case", [TWO_ERRORS, HALT, ALONE], ids=["an operation and a notification", "a halt", "Xen acts alone"]
)
def test_a_kill_at_any_call_breaks_no_law(case: tuple[Scenario, Script]) -> None:
    scenario, acts = case
    whole, broken = play(scenario, acts, seed=1, hours=0)
    assert broken == ()
    assert whole.tally.calls > 30
    for call in range(1, whole.tally.calls - 1):  # the last two calls are those of an orderly stop
        trace, broken = play(scenario, acts, seed=1, hours=0, kill_at=call)
        assert broken == (), f"killed at call {call}"
        assert trace.tally.kills == 1 or trace.tally.halts


def test_the_enumerated_scripts_do_what_they_are_for() -> None:
    told, _ = play(*TWO_ERRORS, seed=1, hours=0)
    assert any(isinstance(what, GuestTold) for what in told.happened)
    assert any(isinstance(what, Carried) and what.caller.value == "Dom0" for what in told.happened)
    halted, _ = play(*HALT, seed=1, hours=0)
    assert any(isinstance(what, Halted) for what in halted.happened)
    assert any(isinstance(event, Closed) for _, event in halted.journal)


def test_a_run_that_the_simulator_cannot_go_on_with_leaves_no_journal_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(loop: Loop) -> None:
        raise OSError("the simulator's own")

    monkeypatch.setattr(Loop, "turn", fails)
    run = run_module.Run(*TWO_ERRORS, seed=1, hours=0, path=tmp_path / "journal")
    with pytest.raises(OSError, match="own"):
        run.play()
    with Journal(tmp_path / "journal", fsync=False, reserve_bytes=0) as journal:  # its lock is free
        assert journal.last > 0


# --- a run is a function ----------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_journal_byte_for_byte() -> None:
    scenario = SCENARIOS["kills"]
    acts = script(scenario, 3, 3)
    first, _ = play(scenario, acts, seed=3, hours=3)
    second, _ = play(scenario, acts, seed=3, hours=3)
    assert journal_of(first) == journal_of(second)
    assert first.happened == second.happened


def test_another_seed_gives_another_script() -> None:
    assert script(SCENARIOS["default"], 1, 24) != script(SCENARIOS["default"], 2, 24)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_script_reads_back_from_its_lines(name: str) -> None:
    acts = script(SCENARIOS[name], 5, 24)
    assert from_lines(to_lines(acts)) == acts


def test_a_line_that_is_no_act_is_named() -> None:
    lines = to_lines((Busy(at_ms=1, for_ms=2),)) + '{"act":"Dance","at_ms":3}\n'
    with pytest.raises(ValueError, match="line 2"):
        from_lines(lines)


def test_scripts_of_the_default_scenario_reach_every_way_place_unit_and_mishap() -> None:
    acts = [act for seed in range(300) for act in script(SCENARIOS["default"], seed, 24)]
    assert {act.way for act in acts if isinstance(act, MemoryHit)} == set(Way)
    assert {act.place for act in acts if isinstance(act, MemoryHit)} == set(Place)
    assert {type(act).__name__ for act in acts} >= {"Kill", "Busy", "HandlerGone", "Dom0Hurt", "Rebooted", "StepsFail"}
    assert {*SCENARIOS["default"].mishaps} == set(Mishap)
    assert {*SCENARIOS["default"].units} == set(Unit)


# --- what is simulated is what runs -----------------------------------------------------------------------------------


def test_nothing_of_ringfence_but_clock_and_port_is_replaced() -> None:
    """The run builds the production loop, treatment and journal by their own names, and no module of it assigns to, or
    patches, anything that it imported. A metered journal adds a count, and a watched seat and a metered host pass on.
    """
    run = ast.parse(Path(run_module.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name: node.module for node in ast.walk(run) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported["Loop"] == "ringfence.service.loop"
    assert imported["Treatment"] == "ringfence.service.treatment"
    assert imported["Clock"] == "ringfence.hypervisor.model.clock"
    assert imported["ModelHost"] == "ringfence.hypervisor.model.host"
    for path in Path(simulation.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom | ast.Import)
            for alias in node.names
        }
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                base = target
                while isinstance(base, ast.Attribute | ast.Subscript):
                    base = base.value
                assert not (isinstance(base, ast.Name) and base.id in names), f"{path.name} assigns to {base.id}"
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id in {"setattr", "delattr", "exec", "eval"}), path.name


def test_the_metered_journal_is_the_journal() -> None:
    metered = ast.parse((Path(simulation.__file__).parent / "metered.py").read_text(encoding="utf-8"))
    journal = next(node for node in metered.body if isinstance(node, ast.ClassDef) and node.name == "MeteredJournal")
    assert [base.id for base in journal.bases if isinstance(base, ast.Name)] == ["Journal"]
    methods = {node.name for node in journal.body if isinstance(node, ast.FunctionDef)}
    assert methods == {"__init__", "append", "put_snapshot"}


# --- what breaks a law is cut down ------------------------------------------------------------------------------------


def test_a_script_that_breaks_a_law_is_cut_down_to_what_matters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bug = next(bug for bug in bugs.BUGS if bug.name == "first aid leaves the mappings")
    bug.plant(monkeypatch)
    scenario = SCENARIOS["default"]
    whole = script(scenario, 1, 6)
    shrunk = shrink(scenario, whole, seed=1, law=Law.L1)
    assert len(shrunk) == 1
    _, broken = play(scenario, shrunk, seed=1, hours=0)
    failure = Failure(seed=1, broken=broken, acts=len(whole), shrunk=shrunk, after=broken)
    write_replay(tmp_path / "broken.jsonl", scenario, failure)
    known = read_replay(tmp_path / "broken.jsonl")
    assert (known.scenario, known.seed, known.script) == ("default", 1, shrunk)
    _, again = play(scenario, known.script, seed=known.seed, hours=known.hours)
    assert again == broken


def test_a_simulation_stops_at_the_first_seed_that_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    bugs._edge(State.HEALING, Event.FAILED, State.HEALED)(monkeypatch)
    vital = {Way.WRITTEN_BACK: {Place.XEN_VITAL: 1.0}}
    scenario = replace(SCENARIOS["quiet"], memory=vital, units={})
    report = simulate(scenario, range(1, 20), 4, processes=1)
    assert report.failure is not None
    assert report.failure.broken[0].law is Law.L4
    assert report.seeds < 19
    assert len(report.failure.shrunk) == 1
