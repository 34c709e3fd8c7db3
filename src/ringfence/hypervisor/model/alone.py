"""Xen as it is released: it acts alone at the machine check, and tells Dom0 afterwards.

Written from Xen's sources: xen/arch/x86/cpu/mcheck/mce.c (mcheck_cmn_handler, mcheck_mca_logout, mce_urgent_action,
mce_delayed_action), mce_intel.c (intel_recoverable_scan, the dhandlers), mce_amd.c (mc_amd_recoverable_scan),
mcaction.c (mc_memerr_dhandler), vmce.c (unmmap_broken_page, fill_vmsr_data, inject_vmce); xen/common/page_alloc.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

import msgspec

from ringfence.arch import mcg, mci_misc
from ringfence.arch.mci_status import ADDRV, AR, EN, MISCV, OVER, PCC, UC, S
from ringfence.hypervisor.model.accesses import Accesses
from ringfence.hypervisor.model.banks import Scheme
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.delivery import Delivery
from ringfence.hypervisor.model.dom0_side import Dom0Side
from ringfence.hypervisor.model.domains import FIRST_VCPU, ModelDomain
from ringfence.hypervisor.model.frames import OWNER_SHIFT, Pg
from ringfence.hypervisor.model.healing import is_expendable
from ringfence.hypervisor.model.interrupts import MachineCheck
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.logout import BankReader, Logged, Source, fitted
from ringfence.hypervisor.model.queues import Telemetry
from ringfence.hypervisor.model.situations import Known, Situations
from ringfence.hypervisor.model.vmce import VirtualBank
from ringfence.record.binary.xen_mc_info import McInfo, McInfoBank, McInfoRecovery
from ringfence.record.evidence import Record
from ringfence.world.domain import DomainState
from ringfence.world.identities import DOMID_COW, PAGE_BYTES, PAGE_SHIFT, CpuId, DomainId, Frame
from ringfence.world.situation import AlreadyDone, Context, Deed, Running

_SRAR_CODES: Final = frozenset({0x0134, 0x0150})
"""INTEL_SRAR_DATA_LOAD, INTEL_SRAR_INSTR_FETCH."""
_SRAO_CODES: Final = frozenset({*range(0xC0, 0xD0), 0x017A})
"""INTEL_SRAO_MEM_SCRUB, INTEL_SRAO_L3_EWB."""
_MSCOD: Final = 0xFFFF << 16
_AMD_BUS, _AMD_MEMORY = 0x0800, 0x0100


class Outcome(IntEnum):
    """MCER_*: what came of a bank's handling, the worst last."""

    NOERROR = 0
    RECOVERED = 1
    CONTINUE = 2
    RESET = 3


class Recorder(Protocol):
    """Turns an info into records, and tells what was lost."""

    def records(self, raw: bytes) -> tuple[Record, ...]:
        """The records of an info."""
        ...

    def print_record(self, record: Record) -> None:
        """On the console."""
        ...

    def was_reported(self, records: tuple[Record, ...], *, urgent: bool, dropped: bool) -> None:
        """For whoever watches."""
        ...


@dataclass(slots=True)
class _Log:
    """The telemetry of one CPU in a machine check."""

    cpu: CpuId
    running: Running
    info: McInfo
    done: list[AlreadyDone] = field(default_factory=list)


class XenAlone:
    """Xen's handler."""

    def __init__(  # noqa: PLR0913, PLR0917 (what the handler touches)
        self,
        core: Core,
        life: Life,
        accesses: Accesses,
        delivery: Delivery,
        dom0: Dom0Side,
        reader: BankReader,
        telemetry: Telemetry,
        situations: Situations,
        recorder: Recorder,
    ) -> None:
        self._core = core
        self._life = life
        self._accesses = accesses
        self._delivery = delivery
        self._dom0 = dom0
        self._reader = reader
        self._telemetry = telemetry
        self._situations = situations
        self._recorder = recorder
        self._platform = core.machine.settings.platform
        self._is_intel = self._platform.scheme is Scheme.INTEL

    @property
    def polls_see_banks(self) -> bool:
        """Whether a poll sees anything: AMD's polls the same empty set of banks as the #MC handler."""
        return self._is_intel or self._core.behaviour.scans_on_machine_check

    # --- #MC -----------------------------------------------------------------------------------------------------

    def machine_check(self, signal: MachineCheck) -> None:
        """mcheck_cmn_handler on every CPU, and the softirq after it."""
        if signal.absent and not signal.local:
            self._dom0.hang(f"CPU {signal.absent[0]} does not come, and the barrier waits without end")
            return
        if not self._core.behaviour.scans_on_machine_check:
            if signal.local and self._is_intel:
                self._dom0.panic("No CPU found valid MCE, need reset")
            # Else no CPU is the one with the error, nobody finds that none was found, and all go on.
            return
        logs = [log for cpu in signal.cpus if (log := self._logout(cpu)) is not None]
        self._dom0.in_hand = [record for log in logs for record in self._recorder.records(log.info.pack())]
        if not logs and (self._is_intel or len(signal.cpus) > 1):
            self._dom0.panic("No CPU found valid MCE, need reset")
        elif fatal := [log.cpu for log in logs if self._is_fatal(log)]:
            self._dom0.panic(f"Fatal error happened on CPUs {','.join(str(cpu) for cpu in fatal)}")
        else:
            self._softirq(logs)

    def _logout(self, cpu: CpuId) -> _Log | None:
        logged = self._reader.scan(cpu, Source.MACHINE_CHECK, extended=False)
        if not logged:
            return None
        running = self._accesses.who(cpu)
        return _Log(cpu, running, self._reader.info(cpu, Source.MACHINE_CHECK, running, logged))

    def _is_fatal(self, log: _Log) -> bool:
        statuses = [bank.status for bank in _banks(log.info)]
        if any(PCC.of(status) for status in statuses):
            return True
        uncorrected = any(UC.of(status) for status in statuses)
        if uncorrected and not all(self._recoverable(status) for status in statuses):
            return True
        # mce_urgent_action: an error that cannot be restarted, not in a guest.
        gstatus = self._reader.mcg_status(log.cpu)
        in_guest = log.running.context is Context.GUEST
        return not mcg.RIPV.of(gstatus) and not (mcg.EIPV.of(gstatus) and in_guest)

    def _recoverable(self, status: int) -> bool:
        if not UC.of(status):
            return True
        if not self._is_intel:
            # mc_amd_recoverable_scan; what is recoverable is never acted upon: AMD has no handlers (mce_dhandlers).
            return not status & _AMD_BUS and bool(status & _AMD_MEMORY) and self._platform.signature.family != 0xF
        if not self._platform.ser_p:
            return False
        enabled, over = bool(EN.of(status)), bool(OVER.of(status))
        if not enabled:
            return not over
        return not over or (bool(S.of(status)) and not AR.of(status))

    def _softirq(self, logs: list[_Log]) -> None:
        for log in logs:
            uncorrected = any(UC.of(bank.status) for bank in _banks(log.info))
            outcome = self._act(log) if uncorrected else Outcome.CONTINUE
            if self._core.stopped:
                return
            if outcome is Outcome.RESET:
                self._dom0.panic("MCE: Software recovery failed for the UCR")
                return
            if outcome is Outcome.NOERROR:
                # Dismissed: Dom0 never hears of it.
                continue
            self._commit(log, urgent=True)
        self._dom0.raise_virq()

    def _act(self, log: _Log) -> Outcome:
        """mce_action: each bank by the first handler that owns it."""
        worst = Outcome.NOERROR
        for bank in _banks(log.info) if self._is_intel else ():
            worst = max(worst, self._act_on(log, bank))
            if worst is Outcome.RESET or self._core.stopped:
                break
        return worst

    def _act_on(self, log: _Log, bank: McInfoBank) -> Outcome:
        status, code = bank.status, bank.status & 0xFFFF
        if not UC.of(status) or not S.of(status):
            return Outcome.CONTINUE
        if AR.of(status):
            return self._memory_error(log, bank, Outcome.RESET) if code in _SRAR_CODES else Outcome.RESET
        return self._memory_error(log, bank, Outcome.CONTINUE) if code in _SRAO_CODES else Outcome.CONTINUE

    # --- the page (mc_memerr_dhandler) -----------------------------------------------------------------------------

    def _memory_error(self, log: _Log, bank: McInfoBank, otherwise: Outcome) -> Outcome:
        physical = ADDRV.of(bank.status) and MISCV.of(bank.status)
        if not physical or mci_misc.ADDRESS_MODE.of(bank.misc) != mci_misc.AddressMode.PHYSICAL:
            self._core.print("No physical address provided for memory error")
            return otherwise
        frame = Frame(bank.addr >> PAGE_SHIFT)
        done = self._life.frames.offline(frame, broken=True, crash_again=True)
        if done.errno:
            self._core.print(f"Failed to offline page {frame:x} for MCE error")
            return otherwise
        entry = McInfoRecovery.page_offline(bank=bank.bank, mfn=frame, status=done.status)
        log.info = fitted(log.info, entry)
        if done.crash is not None:
            self._kill(log, self._life.living(done.crash), "its broken page was hit again")
            return Outcome.CONTINUE
        if done.status & Pg.OFFLINED:
            log.done.append(AlreadyDone(Deed.OFFLINED_FRAME, frame=frame))
            return Outcome.RECOVERED
        if not done.status & Pg.OWNED:
            return otherwise
        return self._owned(log, bank, frame, DomainId(done.status >> OWNER_SHIFT), otherwise)

    def _owned(self, log: _Log, bank: McInfoBank, frame: Frame, owner: DomainId, otherwise: Outcome) -> Outcome:
        self._core.print(f"MCE: This error page is ownded by DOM {owner}")
        log.info = _changed(log.info, bank, msgspec.structs.replace(bank, domid=owner))
        bank = msgspec.structs.replace(bank, domid=owner)
        domain = self._life.living(owner)
        page = self._life.frames.owner(frame)
        if owner == DOMID_COW or domain is None or page is None or page.guest_frame is None:
            self._dom0.panic("Xen BUG at mcaction.c: the page is shared")
            return Outcome.RESET
        # p2m_change_type_one has to split a superpage first, and fails where it cannot.
        if not domain.is_dom0 and (not domain.has_hap or page.whole_superpage):
            self._core.print(f"Unmap broken memory {frame:x} for DOM{owner} failed")
            self._kill(log, domain, "its page broke, and Xen could not unmap it")
            # vmce_failed leaves the result as it was: an SRAR then resets the machine although its victim is gone.
            return otherwise
        if not domain.is_dom0:
            self._life.mappings.unmap_owner(frame)
            log.done.append(AlreadyDone(Deed.ISOLATED_FRAME, domain=owner, frame=frame))
        told = msgspec.structs.replace(bank, addr=page.guest_frame << PAGE_SHIFT | bank.addr % PAGE_BYTES)
        log.info = _changed(log.info, bank, told)
        if domain.in_machine_check:
            self._core.print(f"MCE: d{owner}v0: guest has not handled previous vMCE yet!")
            self._kill(log, domain, "it was still in an earlier machine check")
            return otherwise
        gstatus = self._reader.mcg_status(log.cpu) & ~mcg.LMCE_S.mask
        vmce = VirtualBank(mcg_status=gstatus, status=told.status & ~_MSCOD, addr=told.addr, misc=told.misc)
        self._delivery.fill(domain, vmce, FIRST_VCPU)
        log.done.append(AlreadyDone(Deed.INJECTED_VMCE, domain=owner, frame=frame))
        if not domain.is_dom0:
            self._delivery.injected(domain, page.guest_frame)
        elif is_expendable(page.guest_frame, domain.memory_pages):
            self._life.run_then(domain, 1, lambda: self._delivery.leave(domain))
        else:
            self._core.after_ms(1, lambda: self._dom0.panic("Hardware Dom0 crashed: rebooting machine"))
        return Outcome.RECOVERED

    def _kill(self, log: _Log, domain: ModelDomain | None, because: str) -> None:
        if domain is None:
            return
        if domain.is_dom0:
            self._dom0.panic("Hardware Dom0 crashed: rebooting machine")
            return
        self._core.print(f"Domain {domain.id} crashed")
        self._life.end(domain, DomainState.CRASHED, because)
        log.done.append(AlreadyDone(Deed.KILLED_DOMAIN, domain=domain.id))

    # --- CMCI and polls --------------------------------------------------------------------------------------------

    def found_by_poll(self, cpu: CpuId, source: Source, logged: tuple[Logged, ...]) -> None:
        """cmci_interrupt and the pollers: Dom0 is told, or else the console is."""
        running = self._accesses.who(cpu)
        log = _Log(cpu, running, self._reader.info(cpu, source, running, logged))
        if self._dom0.state.has_handler or source is Source.RESET:
            self._commit(log, urgent=False, earlier_boot=source is Source.RESET)
            self._dom0.raise_virq()
        else:
            records = self._recorder.records(log.info.pack())
            for record in records:
                self._recorder.print_record(record)
            self._recorder.was_reported(records, urgent=False, dropped=False)

    def _commit(self, log: _Log, *, urgent: bool, earlier_boot: bool = False) -> None:
        """Puts the telemetry on its queue.

        ``earlier_boot``: Xen does not mark what it finds at boot; a backend can still tell it, as it comes by polling
        before anything else does, and an error that ends the machine never comes by polling in its own boot.
        """
        raw = log.info.pack()
        records = self._recorder.records(raw)
        self._situations.remember(raw, Known(running=log.running, done=tuple(log.done), earlier_boot=earlier_boot))
        slot = self._telemetry.reserve(urgent=urgent)
        if slot is not None:
            self._telemetry.commit(slot, raw, urgent=urgent)
        self._recorder.was_reported(records, urgent=urgent, dropped=slot is None)


def _banks(info: McInfo) -> tuple[McInfoBank, ...]:
    return tuple(entry for entry in info.entries if isinstance(entry, McInfoBank))


def _changed(info: McInfo, old: McInfoBank, new: McInfoBank) -> McInfo:
    entries = tuple(new if entry is old or entry == old else entry for entry in info.entries)
    return McInfo(entries=entries, incomplete=info.incomplete)
