"""This seat treats alone (Xen, KVM, replay) and is killed at any call: each part goes on where it stood."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringfence import api
from ringfence.decision.policy import Answer, DomainRule, Policy
from ringfence.hypervisor.model.host import ModelHost
from ringfence.hypervisor.port import Arrival, Token
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.record.evidence import Unrecognised
from ringfence.service.loop import Loop
from ringfence.service.simulation.metered import KilledError, Meter, MeteredHost, MeteredJournal
from ringfence.service.stand_in import STAND_INS, StandInHost
from ringfence.service.wiring import model_host
from ringfence.world.domain import DomainState
from ringfence.world.identities import CaseId, DomainId
from ringfence.world.steps import InjectVmce, NotifyGuest, Order, RestartDomain, Result
from ringfence.world.treatment import Dom0Says

SRAR = """mce: [Hardware Error]: CPU 2: Machine Check Exception: f Bank 1: bd80000000100134
mce: [Hardware Error]: RIP 33:<0000000000401000>
mce: [Hardware Error]: TSC 63d3fa6181b69 ADDR 12345400 MISC 86
mce: [Hardware Error]: PROCESSOR 0:606a6 TIME 1647365323 SOCKET 1 APIC 8d microcode d0002e0
"""
"""A data load that consumed poison in user mode, S=1 AR=1 (SDM vol. 3B table 17-10, Linux's format)."""

OPERATE = DomainRule(on_srar=Answer.OPERATE)


class Seen:
    """What passed through the port."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def arrived(self, arrivals: tuple[Arrival, ...]) -> None:
        """Not looked at."""

    def acknowledged(self, token: Token) -> None:
        """Not looked at."""

    def ordered(self, order: Order) -> None:
        """An order to a guest or its domain."""
        self.orders.append(order)

    def answered(self, case: CaseId, domain: DomainId, says: Dom0Says, result: Result) -> None:
        """Not looked at."""


@dataclass(frozen=True)
class Ran:
    calls: int
    ordered: Counter[str]
    outcomes: list[tuple[CaseId, list[tuple[DomainId | None, str]]]]
    still_open: bool
    guest: DomainState


def run(path: Path, policy: Policy, stand_in: str, kill_at: int | None = None) -> Ran:
    """One error, one kill, and all that comes of it."""
    (log := path / "log.txt").write_text(SRAR)
    (event,) = api.findings(str(log))
    assert not isinstance(event, Unrecognised)
    model = model_host(policy, seed=1)
    guest = model.create(STAND_INS[stand_in])
    model.set_dom0_handler(True)
    model.advance(1)
    host = StandInHost(model)
    host.feed(event.finding)
    seen, meter = Seen(), Meter()
    meter.kill_at = kill_at
    metered = MeteredHost(host, model, meter, seen)
    journal_path = path / f"{kill_at}.sqlite"
    loop = _live(metered, journal_path, meter, policy, model)
    with Journal(journal_path, fsync=False) as journal:
        stored = [each for _, each in journal.events()]
    closed = [
        (each.case, [(entry.domain, entry.state) for entry in each.outcome])
        for each in stored
        if isinstance(each, ev.Closed)
    ]
    known = model.situation(None).domain(guest)
    assert known is not None
    ordered = Counter(type(each.step).__name__ for each in seen.orders)
    return Ran(meter.calls, ordered, closed, bool(loop.state.cases), known.state)


def _live(host: MeteredHost, path: Path, meter: Meter, policy: Policy, model: ModelHost) -> Loop:
    loop: Loop | None = None
    journal: MeteredJournal | None = None
    turns = 0
    while loop is None or turns < 20:
        turns += 1
        try:
            if loop is None:
                journal = MeteredJournal(path, meter)
                loop = Loop(host, journal, policy)
            loop.turn()
        except KilledError:
            if journal is not None:
                journal.close()
            loop = None
        model.advance(500)
    assert journal is not None
    journal.close()
    return loop


CASES = {
    "a vMCE": (Policy(), "hvm", InjectVmce),
    "a notification": (Policy(), "pv", NotifyGuest),
    "an operation": (Policy(otherwise=OPERATE), "hvm-plain", RestartDomain),
}


@pytest.mark.parametrize("name", CASES)
def test_a_kill_at_any_call_repeats_nothing_and_leaves_no_case_open(name: str, tmp_path: Path) -> None:
    policy, stand_in, kind = CASES[name]
    whole = run(tmp_path, policy, stand_in)
    assert whole.ordered[kind.__name__] == 1 and not whole.still_open
    for call in range(1, whole.calls + 1):
        ran = run(tmp_path, policy, stand_in, call)
        where = f"killed at call {call} of {whole.calls}: {ran}"
        assert ran.ordered[kind.__name__] <= 1, where
        assert not ran.still_open, where
        assert len(ran.outcomes) == 1, where
        assert ran.guest is DomainState.RUNNING, where
        if kind is not InjectVmce:
            # Only of a vMCE nobody can tell whether it was injected: then the next row applies (L9).
            assert ran.outcomes == whole.outcomes, where
