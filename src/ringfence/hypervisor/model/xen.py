"""The hypervisor: its handlers of machine checks and of the interrupts for corrected errors, and how it begins.

The order within a machine check: read all banks, hand what they say to whoever treats it, carry that out, put the
telemetry on its queue, and only then let the CPUs go on. What ends the machine stays in its bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ringfence.arch import mcg, msrs
from ringfence.arch.mci_status import PCC, UC
from ringfence.hypervisor.model.accesses import Accesses
from ringfence.hypervisor.model.alone import XenAlone
from ringfence.hypervisor.model.banks import Scheme
from ringfence.hypervisor.model.carrying import Carrier
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.delivery import Delivery
from ringfence.hypervisor.model.dom0_side import Dom0Side, is_uncorrected
from ringfence.hypervisor.model.door import Door
from ringfence.hypervisor.model.interrupts import Cmci, DeferredInterrupt, Interrupt, MachineCheck, ThresholdInterrupt
from ringfence.hypervisor.model.last_words import LastWords, console_lines
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.logout import THRESHOLD, BankReader, Logged, Source
from ringfence.hypervisor.model.machine import CpuState
from ringfence.hypervisor.model.mca_hypercall import McaHypercall
from ringfence.hypervisor.model.naming import Naming, owner_number
from ringfence.hypervisor.model.observer import Dropped, MachineChecked, Reported
from ringfence.hypervisor.model.operations import Operations, Rates
from ringfence.hypervisor.model.queues import Slot, Telemetry
from ringfence.hypervisor.model.seat_driver import SeatDriver
from ringfence.hypervisor.model.situations import Known, Situations
from ringfence.hypervisor.model.start_up import enable_machine_check
from ringfence.hypervisor.telemetry import records_of
from ringfence.record.binary.xen_mc_info import McFlag, McInfo, McInfoGlobal
from ringfence.record.evidence import Record
from ringfence.world.identities import CaseId, CpuId, DomainId, GuestFrame, PhysAddr
from ringfence.world.situation import Running
from ringfence.world.steps import NotifyDom0, Order, Result, Status
from ringfence.world.treatment import Dom0Changed, DomainGone, TreatingSeat

POLL_MS: Final = 30_000
"""Xen's longest polling period (amd_nonfatal.c, MCE_MAX)."""

_Report = tuple[McInfo, Record, Running]

READ_KEPT: Final = 64
"""Infos of which the records are kept: Dom0 is shown what the seat was shown just before."""


class Xen:
    """One boot of the hypervisor. ``seat`` is None where it acts alone."""

    def __init__(  # noqa: PLR0913 (what the host is made of)
        self,
        core: Core,
        life: Life,
        words: LastWords,
        *,
        seat: TreatingSeat | None,
        rates: Rates,
        bad_lines: Callable[[], tuple[PhysAddr, ...]],
    ) -> None:
        self._core = core
        self._life = life
        self._words = words
        self.counted_only = 0
        """Corrected errors of which Dom0 was not told, as it has no handler: counted and logged (I.2a)."""
        self.telemetry = Telemetry()
        self.door = Door()
        self.dom0 = Dom0Side(core, life, self.door, words)
        self.accesses = Accesses(core, life, self.dom0.hang)
        self.delivery = Delivery(core, life, self.accesses, self._flood)
        self.operations = Operations(core, life, self.accesses, rates, bad_lines)
        self.carrier = Carrier(core, life, self.accesses, self.delivery, self.operations, self.dom0)
        notify = self._notify_domain if core.behaviour.notifies_domains else None
        self.hypercall = McaHypercall(core.machine, life, self.telemetry, notify)
        self._cpus = self.hypercall.cpus()
        self._read: dict[bytes, tuple[Record, ...]] = {}
        self.situations = Situations(
            core, life, (rates.migration, rates.disk), lambda: self.dom0.state, self.operations.standing
        )
        self._naming = Naming(core.machine, life)
        self._reader = BankReader(core.machine, lambda frame: owner_number(life, frame), as_xen=seat is None)
        self._held: list[Interrupt] = []
        """Interrupts for CPUs that were in a machine check."""
        self._alone: XenAlone | None = None
        self.driver: SeatDriver | None = None
        if seat is None:
            self._alone = XenAlone(
                core, life, self.accesses, self.delivery, self.dom0, self._reader, self.telemetry, self.situations, self
            )
        else:
            now = lambda: self.situations.of(None)  # noqa: E731 (it is what it does)
            self.driver = SeatDriver(core, seat, self.carrier, self.door, now, self.dom0.panic)
        life.on_gone = self._gone
        self.dom0.on_changed = self._dom0_changed

    # --- boot ----------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Looks for what an earlier boot left, then enables machine checks."""
        machine = self._core.machine
        intel = machine.settings.platform.scheme is Scheme.INTEL
        # Xen uses neither AMD's threshold interrupt nor its interrupt for deferred errors: it polls.
        interrupts = self._core.behaviour.treats or intel
        for cpu in machine.settings.topology.cpus:
            self._collect_left_overs(cpu)
            enable_machine_check(machine, cpu, interrupts=interrupts, threshold=THRESHOLD)
        left = self._words.leftovers()
        for record in left:
            self.situations.remember(record.raw, Known(earlier_boot=True))
        self.door.leave(left, "ERST")
        platform = machine.settings.platform
        if not interrupts or not (platform.scheme is Scheme.SMCA or mcg.CMCI_P.of(platform.mcg_cap)):
            self._core.after_ms(POLL_MS, self._poll)

    def _collect_left_overs(self, cpu: CpuId) -> None:
        if self._alone is not None:
            if self._alone.polls_see_banks and (found := self._reader.scan(cpu, Source.RESET, extended=False)):
                self._alone.found_by_poll(cpu, Source.RESET, found)
            return
        for logged in self._reader.scan(cpu, Source.RESET):
            info = self._reader.info(cpu, Source.RESET, Running(cpu=cpu), (logged,))
            raw = self._naming.with_frame(_marked_as_reset(info)).pack()
            self.situations.remember(raw, Known(running=Running(cpu=cpu), earlier_boot=True))
            self.door.leave(self.records(raw), "banks")

    # --- interrupts (InterruptSink) ------------------------------------------------------------------------------

    def interrupt(self, signal: Interrupt) -> None:
        """An interrupt has arrived."""
        if self._core.stopped:
            return
        match signal:
            case MachineCheck():
                self._machine_check(signal)
            case Cmci(cpus, _):
                self._scan_on(cpus, signal)
            case ThresholdInterrupt(cpu, _) | DeferredInterrupt(cpu, _):
                self._scan_on((cpu,), signal)

    def _scan_on(self, cpus: tuple[CpuId, ...], signal: Interrupt) -> None:
        """One of the CPUs scans its banks; if all of them are in a machine check, that goes first."""
        machine = self._core.machine
        free = next((cpu for cpu in cpus if machine.cpu_state(cpu) is not CpuState.IN_MACHINE_CHECK), None)
        if free is None:
            self._held.append(signal)
        else:
            self._scan(free, Source.INTERRUPT)

    def shut_down(self, cpu: CpuId, why: str) -> None:
        """The processor has shut down: no software runs any more."""
        self.dom0.hang(f"CPU {cpu} shut down: {why}")

    def _machine_check(self, signal: MachineCheck) -> None:
        self._core.tell(MachineChecked(self._core.now_ns, signal))
        if self._alone is not None:
            self._alone.machine_check(signal)
        else:
            self._treat_machine_check(signal)
        self.dom0.in_hand = []
        if not self._core.stopped:
            for cpu in signal.cpus:
                self._core.machine.wrmsr(cpu, msrs.MCG_STATUS, 0)
                self._core.machine.leave_machine_check(cpu)
            self._core.caught.clear()
            self.accesses.repeat_stuck()
            held, self._held = self._held, []
            for each in held:
                self.interrupt(each)

    def _treat_machine_check(self, signal: MachineCheck) -> None:
        found = [(cpu, each) for cpu in signal.cpus for each in self._reader.scan(cpu, Source.MACHINE_CHECK)]
        # What ends the machine comes first, so that nothing else is begun before it.
        found.sort(key=lambda pair: (not PCC.of(pair[1].bank.status), not UC.of(pair[1].bank.status)))
        reports = [self._record(cpu, Source.MACHINE_CHECK, logged) for cpu, logged in found]
        self.dom0.in_hand = [record for _, record, _ in reports]
        self._report(reports)
        if not found:
            # Nothing to treat, and nothing that bounds it: the rule is to halt (B.1, SDM vol. 3B 17.10.4.1).
            self.dom0.panic("no CPU found a valid bank: nobody can tell what happened")
        if signal.absent:
            missing = ", ".join(str(cpu) for cpu in signal.absent)
            self.dom0.panic(f"CPU {missing} did not come to the rendezvous: it cannot be stopped")

    def _scan(self, cpu: CpuId, source: Source) -> None:
        treats = self._alone is None
        found = self._reader.scan(cpu, source, extended=treats, signalled=not treats)
        if self._alone is not None:
            if found:
                self._alone.found_by_poll(cpu, source, found)
            return
        if found:
            self._report([self._record(cpu, source, logged) for logged in found])

    def _poll(self) -> None:
        for cpu in self._life.scheduler.online:
            if self._alone is None or self._alone.polls_see_banks:
                self._scan(cpu, Source.POLL)
        self._core.after_ms(POLL_MS, self._poll)

    # --- reports -------------------------------------------------------------------------------------------------

    def records(self, raw: bytes) -> tuple[Record, ...]:
        """The records of an info, as Dom0 reads them. The same objects for what was read just before."""
        known = self._read.get(raw)
        if known is None:
            known = self._read[raw] = records_of(raw, self._cpus)
            while len(self._read) > READ_KEPT:
                del self._read[next(iter(self._read))]
        return known

    def _record(self, cpu: CpuId, source: Source, logged: Logged) -> _Report:
        running = self.accesses.who(cpu)
        info = self._naming.with_frame(self._reader.info(cpu, source, running, (logged,)))
        return info, self.records(info.pack())[0], running

    def _report(self, reports: Sequence[_Report]) -> None:
        """Hands records that came together to the seat, does what it wants, and puts the telemetry on its queues."""
        driver = self.driver
        if driver is None or self._core.stopped:
            return
        for _, record, running in reports:
            self.situations.remember(record.raw, Known(running=running))
            self.dom0.hurt_by(record, running)
        cases, wanted = driver.reported([record for _, record, _ in reports], self.situations.of)
        is_noticed = any(isinstance(each, Order) and isinstance(each.step, NotifyDom0) for each in wanted)
        entries = [self._entry(record, is_noticed=is_noticed) for _, record, _ in reports]
        for (_, record, _), case in zip(reports, cases, strict=True):
            self.dom0.belongs(record, case)
        driver.carry_out(wanted, next((case for case in cases if case is not None), None))
        self.dom0.missing.clear()
        for (info, record, running), case, slot in zip(reports, cases, entries, strict=True):
            urgent = is_uncorrected(record)
            final = self._naming.with_outcome(info, record).pack()
            self.situations.remember(final, Known(running=running))
            if slot is not None:
                self.telemetry.commit(slot, final, urgent=urgent, case=case)
            dropped = slot is None and (is_noticed or urgent)
            self._core.tell(Reported(self._core.now_ns, record, case, urgent, dropped))

    def _entry(self, record: Record, *, is_noticed: bool) -> Slot | None:
        """An entry of the telemetry for a record; a corrected error that nobody wants is counted and logged."""
        urgent = is_uncorrected(record)
        if not urgent and not is_noticed:
            self.counted_only += 1
            self.print_record(record)
            return None
        slot = self._reserve(urgent=urgent)
        if slot is None:
            self.dom0.missing.add(urgent)
        return slot

    def _reserve(self, *, urgent: bool) -> Slot | None:
        """An entry of the telemetry; None if there is none: that is counted, and Dom0 hears how many were lost."""
        slot = self.telemetry.reserve(urgent=urgent)
        if slot is None:
            self._core.tell(Dropped(self._core.now_ns, urgent))
            self.door.lose(1, urgent=urgent)
        return slot

    def was_reported(self, records: tuple[Record, ...], *, urgent: bool, dropped: bool) -> None:
        """Xen has reported by itself: for whoever watches. What it drops, nobody is told."""
        if dropped:
            self._core.tell(Dropped(self._core.now_ns, urgent))
        for record in records:
            self._core.tell(Reported(self._core.now_ns, record, None, urgent, dropped))

    def print_record(self, record: Record) -> None:
        """A record on the console."""
        for line in console_lines(record):
            self._core.print(line.removeprefix("(XEN) ").rstrip("\n"))

    # --- what the seat is told -----------------------------------------------------------------------------------

    def _gone(self, domain: DomainId, because: str) -> None:
        for case, number in [each for each in self.door.asked if each[1] == domain]:
            del self.door.asked[case, number]
        if self.driver is not None:
            self.driver.tell(DomainGone(domain, because))

    def _dom0_changed(self) -> None:
        if self.driver is not None:
            self.driver.tell(Dom0Changed())

    def _notify_domain(self, domain: DomainId, pages: tuple[GuestFrame, ...]) -> bool:
        """XEN_MC_notifydomain: what the guest answers is of no interest to who called."""
        result = self.delivery.notify(domain, pages, must_act=True, endangered=False, on_end=_nobody_waits)
        return result.status in {Status.RUNNING, Status.DONE}

    def _flood(self, domain: DomainId) -> None:
        """A guest calls what only Dom0 may."""
        self.hypercall(domain, b"", 0)

    def case_of(self, *, urgent: bool) -> CaseId | None:
        """The case of the oldest entry of a class."""
        entry = self.telemetry.oldest(urgent=urgent)
        return None if entry is None else entry.case


def _marked_as_reset(info: McInfo) -> McInfo:
    """The info with MC_FLAG_RESET: it was there before this boot."""
    common, *others = info.entries
    if not isinstance(common, McInfoGlobal):
        return info
    return msgspec.structs.replace(
        info, entries=(msgspec.structs.replace(common, flags=common.flags | McFlag.RESET), *others)
    )


def _nobody_waits(result: Result) -> None:
    """The guest's answer to XEN_MC_notifydomain."""
