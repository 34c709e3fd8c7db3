"""Real evidence put to the model host: what would have happened under a policy.

The model stands in for the machine of the log (``service.stand_in``); what it assumes, the caller says. Everything else
is real: the evidence, its reading, the decision, and the production loop in Dom0's seat, which treats cases by itself
(``service.alone``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.arch.cpuid import Vendor
from ringfence.decision.policy import Policy
from ringfence.diagnosis.finding import Event
from ringfence.diagnosis.severity import Severity
from ringfence.errors import JournalError
from ringfence.journal.events import OutcomeEntry
from ringfence.journal.store import Journal
from ringfence.record.evidence import Unrecognised
from ringfence.service.loop import Loop
from ringfence.service.stand_in import GUEST, STAND_INS, StandInHost
from ringfence.service.wiring import model_host
from ringfence.world.identities import OWN_CASES

LONGEST_GAP_MS: Final = 72 * 3_600_000
"""Between two events: no window of a trend is longer."""
SETTLE_MS: Final = 300_000
"""How long is waited for the end of what an event began: twice the longest default deadline and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of one event. ``outcome`` has an entry per loser; empty for a corrected error that nobody acted on.

    ``ahead`` are the outcomes of what Dom0 began ahead of an error because of this event (II.1). ``halted``: the host
    stood after it (it was reset, and its guest started again, for what follows).
    """

    event: Event
    outcome: tuple[OutcomeEntry, ...]
    ahead: tuple[OutcomeEntry, ...]
    halted: bool


class _Stage:
    """One policy on one model host with one journal."""

    def __init__(self, policy: Policy, journal: Path, *, vendor: Vendor | None, stand_in: str) -> None:
        self._policy = policy
        platform = "turin" if vendor in {Vendor.AMD, Vendor.HYGON} else "cascade-lake"
        self._model = model_host(policy, seed=1, platform=platform)
        self._spec = STAND_INS[stand_in]
        self._journal = Journal(journal, fsync=False)
        self._begin()

    def _begin(self) -> None:
        self._model.create(self._spec)
        self._model.set_dom0_handler(True)
        self._model.advance(1)
        self._host = StandInHost(self._model)
        self._loop = Loop(self._host, self._journal, self._policy)

    def play(self, event: Event, gap_ms: int) -> Played:
        """Put one event to the host, and wait for what follows."""
        self._model.advance(gap_ms)
        before = set(self._loop.state.outcomes)
        self._host.feed(event.finding)
        self._loop.turn()
        waited_ms = 0
        while self._loop.state.cases and waited_ms < SETTLE_MS and not self._model.halted:
            wake_ms = self._loop.wake_ms
            step_ms = max(1, min(1_000, (wake_ms or self._model.now_ms() + 1_000) - self._model.now_ms()))
            self._model.advance_to_next(step_ms)
            waited_ms += step_ms
            self._loop.turn()
        outcomes = self._loop.state.outcomes
        new = [number for number in outcomes if number not in before]
        own = [number for number in new if number >= OWN_CASES]
        halted = self._model.halted
        played = Played(
            event=event,
            outcome=tuple(entry for number in new if number < OWN_CASES for entry in outcomes[number].entries),
            ahead=tuple(entry for number in own for entry in outcomes[number].entries),
            halted=halted,
        )
        gone = self._gone()
        if halted or (gone and not self._model.destination.healthy):
            self._model.reboot()  # one that is closed to new guests stays so until it is started anew
        if halted or gone:
            self._begin()
        return played

    def _gone(self) -> bool:
        situation = self._model.situation(None)
        return not any(each.name == GUEST and each.lives for each in situation.domains)

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()


def replay(
    found: Iterable[Event | Unrecognised], policies: tuple[Policy, ...], directory: Path, *, stand_in: str = "hvm"
) -> Iterator[tuple[Played, ...] | Unrecognised]:
    """Put events to a model host for each policy; yields what became of each event under each policy, in order.

    What cannot be read is handed on. Journals are written to ``directory``. Raises JournalError if one is there.
    """
    stages: list[_Stage] = []
    journals = [directory / f"policy-{number}.sqlite" for number, _ in enumerate(policies, 1)]
    for journal in journals:
        if journal.exists():
            advice = "Name another directory, or take it away: two replays in one journal would be told as one history."
            raise JournalError(journal, "it holds an earlier replay", advice=advice)
    last: float | None = None
    try:
        for event in found:
            if isinstance(event, Unrecognised):
                yield event
                continue
            if event.count == 0 or event.finding.severity is Severity.NONE:
                continue
            if not stages:
                stages.extend(
                    _Stage(policy, journal, vendor=event.finding.vendor, stand_in=stand_in)
                    for policy, journal in zip(policies, journals, strict=True)
                )
            time = event.finding.record.time
            gap_ms = 1_000 if time is None or last is None else max(1, round((time - last) * 1000))
            last = time if time is not None else last
            yield tuple(stage.play(event, min(gap_ms, LONGEST_GAP_MS)) for stage in stages)
    finally:
        for stage in stages:
            stage.close()
