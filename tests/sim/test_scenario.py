"""Scenarios from files: what a file says is taken, what it says wrong is named by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.decision.policy import OnUnlocated
from ringfence.errors import PolicyError, SourceError
from ringfence.service.simulation.acts import Place, Unit, Way
from ringfence.service.simulation.scenario import SCENARIOS, Mishap, named, read
from ringfence.world.domain import DomainKind, McaHandler


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_says_what_is_different_from_the_scenario_that_it_is_based_on(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('unlocated = "halt"\n', encoding="utf-8")
    path = written(
        tmp_path,
        """
        based_on = "storm"
        says = "two guests"
        handler = false
        policy = "policy.toml"
        [machine]
        platform = "milan"
        sockets = 1
        [memory.read]
        guest = 2.0
        "same page" = 0.5
        [units]
        "context corrupt" = 0.1
        [mishaps]
        kill = 3
        [[guests]]
        name = "a"
        kind = "PV"
        handler = "trap"
        [[guests]]
        name = "b"
        kind = "HVM"
        mca_enabled = true
        behaviour = "lies"
        """,
    )
    scenario = read(path)
    assert scenario.memory == {Way.READ: {Place.GUEST: 2.0, Place.SAME_PAGE: 0.5}}
    assert scenario.units == {Unit.CONTEXT: 0.1}
    assert scenario.mishaps == {Mishap.KILL: 3.0}
    assert (scenario.machine.platform, scenario.machine.sockets, scenario.handler) == ("milan", 1, False)
    assert [(guest.name, guest.kind, guest.handler) for guest in scenario.guests] == [
        ("a", DomainKind.PV, McaHandler.TRAP),
        ("b", DomainKind.HVM, McaHandler.NONE),
    ]
    assert scenario.policy.unlocated is OnUnlocated.HALT


def test_what_a_file_does_not_say_is_as_in_its_base(tmp_path: Path) -> None:
    scenario = read(written(tmp_path, 'based_on = "amd"'))
    base = SCENARIOS["amd"]
    assert (scenario.machine, scenario.guests, scenario.memory) == (base.machine, base.guests, base.memory)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('based_on = "sunny"', "based_on: no scenario 'sunny'; allowed: default"),
        ('machine = {platform = "z80"}', "machine.platform: no platform 'z80'; allowed: cascade-lake"),
        ("machine = {sockets = 1.5}", "`$.machine.sockets`"),
        ("[memory.read]\nguest = -1", "memory.read.guest: -1.0 per hour; allowed: 0 to 1000"),
        ("[memory.read]\nmoon = 1", "moon"),
        ("[mishaps]\nkill = 100000", "mishaps.kill"),
        ("[units]\nlink = 'often'", "$.units"),
        ('[[guests]]\nname = "a"\nkind = "PV"\nbehaviour = "sings"', "guests[0]: no behaviour 'sings'"),
        ('[[guests]]\nname = "a"\nkind = "VAX"', "$.guests[0].kind"),
        ('[[guests]]\nname = "a"\nkind = "PV"\n[[guests]]\nname = "a"\nkind = "PV"', "the name 'a' stands twice"),
        ("colour = 1", "colour"),
        ("a = ", "this is no TOML"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SourceError) as raised:
        read(written(tmp_path, text))
    assert says in str(raised.value)


def test_a_policy_that_is_wrong_is_named_as_a_policy_is(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="policy_text"):
        read(written(tmp_path, 'policy_text = "unlocated = 3"'))


def test_a_name_that_is_no_scenario_is_taken_for_a_file() -> None:
    with pytest.raises(SourceError, match="No such file") as raised:
        named("sunny")
    assert "hostile-guests" in raised.value.advice
