"""Each deliberate bug makes the law that it belongs to fail within a few simulated hours; without it no law fails."""

from __future__ import annotations

import pytest

from ringfence.decision.laws import Broken, Law
from ringfence.service.simulation.script import script
from ringfence.service.simulation.simulate import play
from tests.sim.bugs import ALSO_FOUND_ALONE, BUGS, BUGS_ALONE, Bug

SEEDS = 6
HOURS = 3.0


def _found(bug: Bug) -> Broken | None:
    for seed in range(1, SEEDS + 1):
        acts = bug.script or script(bug.scenario, seed, HOURS)
        _, broken = play(bug.scenario, acts, seed=seed, hours=0)
        for each in broken:
            if each.law is bug.law:
                return each
        if bug.script:
            break
    return None


@pytest.mark.parametrize("bug", (*BUGS, *BUGS_ALONE), ids=lambda bug: f"{bug.scenario.name} {bug.law} {bug.name}")
def test_a_deliberate_bug_makes_its_law_fail(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    assert _found(bug) is not None


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.script], ids=lambda bug: bug.name)
def test_the_same_script_breaks_nothing_without_the_bug(bug: Bug) -> None:
    _, broken = play(bug.scenario, bug.script, seed=1, hours=0)
    assert broken == ()


@pytest.mark.parametrize("name", sorted({bug.scenario.name for bug in (*BUGS, *BUGS_ALONE)}))
def test_the_same_seeds_break_nothing_without_the_bugs(name: str) -> None:
    scenario = next(bug.scenario for bug in (*BUGS, *BUGS_ALONE) if bug.scenario.name == name)
    for seed in (1, 2):
        _, broken = play(scenario, script(scenario, seed, HOURS), seed=seed, hours=0)
        assert broken == ()


def test_every_law_has_a_bug_of_its_own() -> None:
    assert {bug.law for bug in BUGS} == {f"L{number}" for number in range(1, 11)}
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 15


def test_every_law_that_is_ringfences_to_keep_where_xen_acts_alone_has_a_bug_there() -> None:
    assert {bug.law for bug in BUGS_ALONE} == {Law.L2, Law.L3, Law.L4, Law.L6, Law.L8, Law.L9}
    assert len(BUGS_ALONE) == len(ALSO_FOUND_ALONE) + 3
