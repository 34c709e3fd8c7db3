"""What is written in one turn is few transactions, and whoever does something finds it all on the disk before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ringfence.decision.policy import Answer, DomainRule, Operation, Policy
from ringfence.hypervisor.model.faults import CacheWriteback
from ringfence.hypervisor.port import Hypervisor
from ringfence.journal import events as ev
from ringfence.journal.recall import recall
from ringfence.journal.store import Journal
from ringfence.service.ledger import Ledger
from ringfence.service.loop import Loop
from ringfence.service.plugins import Plugin
from ringfence.world.domain import DomainState
from ringfence.world.identities import CpuId, GuestFrame
from tests.contract.backends import BACKENDS, World

DEEDS = ("carry_out", "answer", "acknowledge", "evidence_saved")
"""What a host is told, of which something follows outside."""


class Watched:
    """A host that looks, at each deed, whether the journal has all that the state counts."""

    def __init__(self, world: World) -> None:
        self._host, self.loop = world.host, cast(Loop | None, None)
        self.deeds = Counter[str]()
        self.too_early: list[str] = []

    def looks(self, deed: str) -> None:
        self.deeds[deed] += 1
        if self.loop is not None and not self.loop.is_settled:
            self.too_early.append(deed)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._host, name)
        if name not in DEEDS:
            return found

        def does(*words: Any) -> Any:
            self.looks(name)
            return found(*words)

        return does


class Counting(Journal):
    """A journal that counts its transactions."""

    transactions = 0

    def append(self, *events: ev.Event) -> int:
        self.transactions += bool(events)
        return super().append(*events)


OPERATES = Policy(otherwise=DomainRule(on_ue=Answer.OPERATE, on_srar=Answer.OPERATE, operations=(Operation.RESTART,)))


def consumed(world: World) -> None:
    world.consumed()


def found_before_use(world: World) -> None:
    world.host.inject(CacheWriteback(cpu=CpuId(0), addr=world.host.address(world.pv, GuestFrame(5))))
    world.settle(10)


def lives(
    world: World, path: Path, strikes: Callable[[World], None], plugin: Callable[[Watched], Plugin] | None = None
) -> tuple[Watched, list[ev.Stored], int]:
    """What a host sees while two guests lose pages; the journal, and how many transactions it took."""
    watched = Watched(world)
    plugins = {"it": plugin(watched)} if plugin is not None else {}
    with Counting(path, fsync=False) as journal:
        loop = watched.loop = Loop(cast(Hypervisor, watched), journal, OPERATES, plugins=plugins)
        journal.transactions = 0
        strikes(world)
        for _ in range(120):
            loop.turn()
            assert loop.is_settled
            world.settle(1_000)
        assert recall(journal).state == loop.state
        return watched, [event for _, event in journal.events()], journal.transactions


@pytest.mark.parametrize(
    ("backend", "strikes", "deeds"),
    [
        ("model concept", consumed, {"acknowledge", "answer", "carry_out"}),
        ("model concept", found_before_use, {"acknowledge", "answer", "carry_out"}),
        ("model xen-4.20", found_before_use, {"acknowledge"}),
    ],
)
def test_nothing_is_done_before_all_that_led_to_it_is_on_the_disk(
    backend: str, strikes: Callable[[World], None], deeds: set[str], tmp_path: Path
) -> None:
    watched, stored, transactions = lives(BACKENDS[backend](), tmp_path / "j", strikes)
    assert watched.deeds.keys() >= deeds
    assert watched.too_early == []
    assert any(isinstance(event, ev.Closed) for event in stored)
    assert transactions < sum(not isinstance(event, ev.Started) for event in stored)


def test_a_plug_in_that_takes_its_time_holds_nothing_back(tmp_path: Path) -> None:
    asked: list[DomainState] = []

    def made(watched: Watched) -> Plugin:
        def hear(about: Any) -> None:
            asked.append(about.domain.state)
            watched.looks("plug-in")

        return cast(Plugin, hear)

    watched, _, _ = lives(BACKENDS["model concept"](), tmp_path / "j", consumed, made)
    assert asked
    assert "plug-in" not in watched.too_early


def test_an_exception_leaves_what_was_held_unwritten_as_a_kill_would(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", fsync=False) as journal:
        ledger = Ledger(BACKENDS["model concept"]().host, journal)
        last = journal.last
        with pytest.raises(RuntimeError), ledger.together():
            ledger.write(ev.Stopped(at_ms=1))
            raise RuntimeError
        assert journal.last == last
        assert not ledger.is_settled
