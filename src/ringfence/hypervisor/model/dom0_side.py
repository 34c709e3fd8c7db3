"""What the hypervisor does towards Dom0, and how it ends: notices, questions, time to save evidence, last words, halt.

Whether Dom0 can be asked is kept here (B.3): an error that took part of it hurts it, and only a probe that shows that
it works again ends that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ringfence.arch import mcg, mci_status
from ringfence.hypervisor.model.carrying import Context
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.door import Door
from ringfence.hypervisor.model.last_words import LastWords
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.observer import Halted, Sink
from ringfence.hypervisor.telemetry import frames_named
from ringfence.record.evidence import Record
from ringfence.world.domain import Dom0State
from ringfence.world.identities import DOM0, CaseId
from ringfence.world.situation import Running
from ringfence.world.steps import AskDom0, Result, SaveEvidence, Status

PROBE_MS: Final = 1_000
"""How often a hurt Dom0 is probed."""
LAST_RECORDS: Final = 16
"""Records that go into last words, those of the case first."""
CASES_KEPT: Final = 1_024
"""Cases whose records are kept for last words: as many as the seat follows."""


class Dom0Side:
    """Dom0 as the hypervisor deals with it. ``on_changed`` is called when it can be asked no more, or again."""

    def __init__(self, core: Core, life: Life, door: Door, words: LastWords) -> None:
        self._core = core
        self._life = life
        self._door = door
        self._words = words
        self.state = Dom0State(has_handler=False)
        self.on_changed: Callable[[], None] = _nobody_hears
        self.virqs = 0
        """How often VIRQ_MCA was raised."""
        self.missing: set[bool] = set()
        """Classes (urgent: True) for which no entry of the telemetry was free, of the reports in hand."""
        self.in_hand: list[Record] = []
        """The records of the machine check that is being handled."""
        self._records: OrderedDict[CaseId, list[Record]] = OrderedDict()
        self._by_hand = False

    # --- its state -----------------------------------------------------------------------------------------------

    def set_handler(self, present: bool) -> None:
        """Its handler binds VIRQ_MCA, or goes."""
        self._become(replace(self.state, has_handler=present))

    def set_hurt(self, hurt: bool) -> None:
        """It is hurt by something that the model does not show, or a probe has shown that it works."""
        self._by_hand = hurt
        self._become(replace(self.state, hurt=hurt))

    def hurt_by(self, record: Record, running: Running) -> None:
        """An uncorrected error may have taken part of it: a page of its own, or what it had just read."""
        if self.state.hurt or not is_uncorrected(record):
            return
        owners = [self._life.frames.owner(frame) for frame in frames_named(record)]
        lost = any(owner is not None and owner.domain == DOM0 for owner in owners)
        consumed = running.domain == DOM0 and bool(mcg.EIPV.of(record.registers.mcg_status or 0))
        if lost or consumed:
            self._become(replace(self.state, hurt=True))
            self._core.after_ms(PROBE_MS, self._probe)

    def _probe(self) -> None:
        """It works again if it has let go of every broken page, and answers."""
        if self._by_hand or not self.state.hurt:
            return
        frames = self._life.frames
        if any(frames.is_broken(frame) for frame in frames.bad_frames(DOM0)) or not self._life.dom0.lives:
            self._core.after_ms(PROBE_MS, self._probe)
        else:
            self._become(replace(self.state, hurt=False))

    def _become(self, state: Dom0State) -> None:
        if state != self.state:
            self.state = state
            self.on_changed()

    # --- towards it (carrying.Above) -----------------------------------------------------------------------------

    def raise_virq(self) -> None:
        """VIRQ_MCA, if it has bound it."""
        if self.state.has_handler:
            self.virqs += 1

    def notify_dom0(self, *, urgent: bool) -> Result:
        """VIRQ_MCA; the records in hand are in their queues as soon as they are treated."""
        if not self.state.has_handler:
            return Result(Status.FAILED, "Dom0 has no MCA handler")
        self.raise_virq()
        if urgent in self.missing:
            return Result(Status.FAILED, "no entry of the telemetry is free: counted as lost")
        return Result(Status.DONE)

    def ask_dom0(self, step: AskDom0, context: Context) -> Result:
        """A question, if it can be asked (L5)."""
        if not self.state.is_able:
            return Result(Status.FAILED, "Dom0 is hurt or has no MCA handler")
        if context.case is None or self._life.living(step.domain) is None:
            return Result(Status.REFUSED, f"there is nothing to ask about domain {step.domain}")
        if not self._door.ask(context.case, step.domain, step.deadline_ms, operate=step.operate):
            return Result(Status.FAILED, "too many questions wait already")
        self.raise_virq()
        return Result(Status.DONE)

    def save_evidence(self, step: SaveEvidence, context: Context, on_end: Callable[[Result], None]) -> Result:
        """It alone runs on, and is given time to write. The step ends when it has; the deadline is the seat's."""
        if not self.state.is_able or context.case is None:
            return Result(Status.FAILED, "Dom0 is hurt or has no MCA handler")
        self._life.scheduler.only(DOM0)
        self._door.want(context.case, step.deadline_ms, on_end)
        self.raise_virq()
        return Result(Status.RUNNING, "Dom0 writes the evidence down")

    def evidence_saved(self, case: CaseId) -> None:
        """It has written it down."""
        wanted = self._door.wanted.pop(case, None)
        if wanted is not None:
            wanted.on_end(Result(Status.DONE, "Dom0 has the evidence"))

    # --- the end -------------------------------------------------------------------------------------------------

    def belongs(self, record: Record, case: CaseId | None) -> None:
        """A record is evidence of a case."""
        if case is None:
            return
        self._records.setdefault(case, []).append(record)
        while len(self._records) > CASES_KEPT:
            self._records.popitem(last=False)

    def last_words(self, context: Context) -> Result:
        """The evidence to every sink that works. FAILED if none does."""
        failed = self._words.say(self._evidence(context.case), "the error cannot be contained")
        declared = tuple(f"{sink.value} does not work" for sink in failed)
        if len(failed) == len(Sink):
            return Result(Status.FAILED, "no sink works", declared)
        return Result(Status.DONE, "", declared)

    def halt(self, because: str) -> Result:
        """Stops the machine."""
        self._stop(because, panic=True)
        return Result(Status.DONE)

    def panic(self, because: str) -> None:
        """The hypervisor ends the machine by itself, with last words."""
        if not self._core.stopped:
            self._words.say(self._evidence(None), because)
            self._stop(because, panic=True)

    def hang(self, because: str) -> None:
        """The machine does nothing any more, and nobody says so."""
        if not self._core.stopped:
            self._stop(because, panic=False)

    def _stop(self, because: str, *, panic: bool) -> None:
        self._life.scheduler.halt()
        self._core.stopped = True
        self._core.tell(Halted(self._core.now_ns, panic, because))

    def _evidence(self, case: CaseId | None) -> list[Record]:
        own = self._records.get(case, []) if case is not None else []
        return [*own, *(each for each in self.in_hand if each not in own)][:LAST_RECORDS]


def is_uncorrected(record: Record) -> bool:
    """Whether the registers alone say that the hardware did not correct it: UC, or AMD's Deferred."""
    status = record.registers.status or 0
    deferred = record.registers.ipid is not None and mci_status.DEFERRED.of(status)
    return bool(mci_status.UC.of(status) or deferred or record.registers.status is None)


def _nobody_hears() -> None:
    """Before the seat is there."""
