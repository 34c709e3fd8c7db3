"""One machine-check bank: its registers, how an error is latched in it, and what that signals.

A bank belongs to a thread, a core or a socket; those who share it see the same registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum, auto
from typing import Final

from ringfence.arch import mci_ctl2, mci_misc, smca_registers
from ringfence.arch.mci_status import (
    ADDRV,
    AR,
    CORRECTED_COUNT,
    DEFERRED,
    EN,
    MISCV,
    OVER,
    PCC,
    SYNDV,
    THRESHOLD_STATUS,
    UC,
    VAL,
    S,
)
from ringfence.errors import RingfenceError
from ringfence.hypervisor.model import overwrite
from ringfence.hypervisor.model.overwrite import GREEN, YELLOW

WORD: Final = (1 << 64) - 1
APIC: Final = 1
"""Interrupt type of MCA_MISC0.ThresholdIntType and MCA_CONFIG.DeferredIntType: an interrupt through the APIC."""
COUNTER_FULL: Final = 0xFFF
COUNT_LIMIT: Final = 0x7FFF
"""MCi_STATUS[52:38]: where the corrected-error count stops. Its top bit, once set, stays: the sticky overflow."""


class GeneralProtection(RingfenceError):  # noqa: N818 (the architecture's own name for this exception)
    """#GP(0): software accessed an MSR that is not there, or wrote a value that it does not take."""

    def __init__(self, message: str, *, msr: int) -> None:
        super().__init__(message, advice="This is a defect of the software on the model machine: please report it.")
        self.msr = msr


class RefusedError(Exception):
    """A register does not take a value; the register file, which knows the MSR, makes it a ``GeneralProtection``."""


class Scheme(StrEnum):
    """The generations of banks that differ in their rules."""

    INTEL = "Intel"
    AMD = "AMD before Scalable MCA"
    SMCA = "AMD Scalable MCA"


class Slot(IntEnum):
    """The registers of a bank."""

    CTL = auto()
    STATUS = auto()
    ADDR = auto()
    MISC = auto()
    CTL2 = auto()
    CONFIG = auto()
    IPID = auto()
    SYND = auto()
    DESTAT = auto()
    DEADDR = auto()


class Signal(Enum):
    """What a latched error asks for."""

    MACHINE_CHECK = auto()
    CMCI = auto()
    THRESHOLD = auto()
    DEFERRED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a bank: what the processor (MCG_CAP) and the bank itself can do.

    ``yellow_from``: from how many corrected errors on a monitored structure shows yellow instead of green (a number of
    the model's own; 0: not monitored, SDM vol. 3B 17.4). ``counts``: AMD's bank has a threshold counter; Intel's takes
    part in CMCI. ``ipid`` and ``config``: as MCA_IPID and MCA_CONFIG come out of reset.
    """

    scheme: Scheme
    ser_p: bool = False
    tes_p: bool = False
    cmci_p: bool = False
    yellow_from: int = 0
    counts: bool = True
    ipid: int = 0
    config: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """An error as its unit hands it to the bank: MCi_STATUS without VAL, OVER, EN, count and colour."""

    status: int
    addr: int = 0
    misc: int = 0
    synd: int = 0


@dataclass(frozen=True, slots=True)
class Latched:
    """What became of an error. ``kept``: its registers are in the bank (or in MCA_DESTAT)."""

    kept: bool
    signals: frozenset[Signal]


_CONFIG_WRITABLE: Final = (
    smca_registers.INT_EN.mask
    | smca_registers.DEFERRED_INT_TYPE.mask
    | smca_registers.LOG_DEFERRED_IN_MCA_STAT.mask
    | smca_registers.TRANSPARENT_LOGGING_ENABLE.mask
    | smca_registers.MCAX_ENABLE.mask
)
_MISC0_WRITABLE: Final = (
    mci_misc.LVT_OFFSET.mask
    | mci_misc.COUNTER_ENABLE.mask
    | mci_misc.INT_TYPE.mask
    | mci_misc.COUNTER_OVERFLOW.mask
    | mci_misc.ERROR_COUNT.mask
)
_MISC0_AT_RESET: Final = mci_misc.MISC_VALID.mask | mci_misc.COUNTER_PRESENT.mask | mci_misc.INT_PRESENT.mask
_CTL2_WRITABLE: Final = mci_ctl2.CMCI_EN.mask | mci_ctl2.THRESHOLD.mask
_HARDWARE_MADE: Final = VAL.mask | OVER.mask | EN.mask


class Bank:
    """The registers of one bank. ``log`` is the hardware's side, ``read`` and ``write`` are software's."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._registers: dict[Slot, int] = dict.fromkeys(Slot, 0)
        self.cold_reset()

    def log(self, error: Detected) -> Latched:
        """Latches an error as the overwrite rules say. Raises ValueError for status bits that are the bank's own."""
        if error.status & _HARDWARE_MADE:
            raise ValueError(f"VAL, OVER and EN are set by the bank: {error.status:#x}")
        status = error.status | VAL.mask
        if self._registers[Slot.CTL]:
            status |= EN.mask
        elif self.rules.ser_p:
            status &= ~(S.mask | AR.mask)  # S says that a machine check was signalled
        if self.rules.scheme is Scheme.INTEL:
            return self._log_intel(status, error)
        return self._log_amd(status, error)

    def _log_intel(self, status: int, error: Detected) -> Latched:
        rules = self.rules
        signals: set[Signal] = set()
        held = self._registers[Slot.STATUS]
        count = CORRECTED_COUNT.of(held) if rules.cmci_p and VAL.of(held) else 0
        ctl2 = self._registers[Slot.CTL2]
        if not UC.of(status):
            count = min(count + 1, COUNT_LIMIT)
            if ctl2 & mci_ctl2.CMCI_EN.mask and count == mci_ctl2.THRESHOLD.of(ctl2):
                signals.add(Signal.CMCI)
            if rules.tes_p and rules.yellow_from:
                status |= THRESHOLD_STATUS.put(YELLOW if count >= rules.yellow_from else GREEN)
        elif not rules.ser_p or status & (PCC.mask | S.mask):
            if EN.of(status):
                signals.add(Signal.MACHINE_CHECK)
        elif ctl2 & mci_ctl2.CMCI_EN.mask:
            signals.add(Signal.CMCI)  # a UCNA, or an SRAO that is set to CMCI, does not wait for the threshold
        kept = self._latch(status, error, self._overwritten_intel)
        if rules.cmci_p:
            held = self._registers[Slot.STATUS] & ~CORRECTED_COUNT.mask
            self._registers[Slot.STATUS] = held | CORRECTED_COUNT.put(count)
        return Latched(kept, frozenset(signals))

    def _overwritten_intel(self, held: int, new: int) -> overwrite.Outcome:
        return overwrite.intel(held, new, ser_p=self.rules.ser_p, tes_p=self.rules.tes_p)

    def _log_amd(self, status: int, error: Detected) -> Latched:
        signals: set[Signal] = set()
        if UC.of(status) and EN.of(status):
            signals.add(Signal.MACHINE_CHECK)
        in_status, kept = True, False
        if self.rules.scheme is Scheme.SMCA and DEFERRED.of(status):
            config = self._registers[Slot.CONFIG]
            in_status = bool(smca_registers.LOG_DEFERRED_IN_MCA_STAT.of(config))
            kept = self._log_deferred(status, error)
            if smca_registers.DEFERRED_INT_TYPE.of(config) == APIC:
                signals.add(Signal.DEFERRED)
        if in_status:
            kept |= self._latch(status, error, overwrite.amd)
        if self._count():
            signals.add(Signal.THRESHOLD)
        return Latched(kept, frozenset(signals))

    def _log_deferred(self, status: int, error: Detected) -> bool:
        """MCA_DESTAT and MCA_DEADDR: the first deferred error stays, later ones only set Overflow.

        PPR 55898, MCA_DESTAT; that the first stays is the model's reading and could not be checked.
        """
        held = self._registers[Slot.DESTAT]
        if VAL.of(held):
            self._registers[Slot.DESTAT] = held | OVER.mask
            return False
        self._registers[Slot.DESTAT] = status & smca_registers.DESTAT.declared_mask
        self._registers[Slot.DEADDR] = error.addr if ADDRV.of(status) else 0
        return True

    def _count(self) -> bool:
        """The threshold counter counts errors of every severity; whether this one filled it and interrupts.

        Source: APM vol. 2 9.3.3; Linux commit "x86/MCE/AMD: Clear DFR errors found in THR handler" (by AMD, 2022).
        """
        misc = self._registers[Slot.MISC]
        if not (misc & mci_misc.COUNTER_PRESENT.mask and misc & mci_misc.COUNTER_ENABLE.mask):
            return False
        count = mci_misc.ERROR_COUNT.of(misc)
        if count == COUNTER_FULL:
            return False
        misc += mci_misc.ERROR_COUNT.put(1)
        full = mci_misc.ERROR_COUNT.of(misc) == COUNTER_FULL
        if full:
            misc |= mci_misc.COUNTER_OVERFLOW.mask
        self._registers[Slot.MISC] = misc
        return full and mci_misc.INT_TYPE.of(misc) == APIC

    def _latch(self, status: int, error: Detected, rule: overwrite.Rule) -> bool:
        registers = self._registers
        held = registers[Slot.STATUS]
        outcome = rule(held, status) if VAL.of(held) else overwrite.Outcome(status, second=True)
        registers[Slot.STATUS] = outcome.status
        if outcome.second:
            registers[Slot.ADDR] = error.addr if ADDRV.of(status) else 0
            if self.rules.scheme is Scheme.INTEL:
                registers[Slot.MISC] = error.misc if MISCV.of(status) else 0
            registers[Slot.SYND] = error.synd if self._has_syndrome(status) else 0
        return outcome.second

    def _has_syndrome(self, status: int) -> bool:
        return self.rules.scheme is Scheme.SMCA and bool(SYNDV.of(status))

    def read(self, slot: Slot) -> int:
        """A register's value; the register file has seen to it that the bank has such a register."""
        return self._registers[slot]

    def write(self, slot: Slot, value: int, *, any_value: bool = False) -> None:
        """Software's write. ``any_value``: AMD's HWCR.McStatusWrEn. Raises RefusedError; then nothing has changed."""
        match slot:
            case Slot.CTL:
                self._registers[slot] = value
            case Slot.CTL2:
                if value & ~_CTL2_WRITABLE:
                    raise RefusedError("reserved bits of MCi_CTL2")
                self._registers[slot] = value if self.rules.counts else 0
            case Slot.CONFIG:
                self._registers[slot] = self.rules.config & ~_CONFIG_WRITABLE | value & _CONFIG_WRITABLE
            case Slot.MISC if self.rules.scheme is not Scheme.INTEL:
                self._write_counter(value, any_value=any_value)
            case Slot.STATUS | Slot.ADDR | Slot.MISC | Slot.SYND | Slot.DESTAT | Slot.DEADDR | Slot.IPID:
                if value and not any_value:
                    raise RefusedError("only zero may be written to it")
                if slot is not Slot.IPID or any_value:
                    self._registers[slot] = value

    def _write_counter(self, value: int, *, any_value: bool) -> None:
        held = self._registers[Slot.MISC]
        if any_value:
            self._registers[Slot.MISC] = value
        elif self.rules.counts and not held & mci_misc.LOCKED.mask:
            self._registers[Slot.MISC] = held & ~_MISC0_WRITABLE | value & _MISC0_WRITABLE

    def warm_reset(self) -> None:
        """What was logged stays; what software set up does not (SDM vol. 3B 17.3.2.1 and 17.3.2.2, APM vol. 2 9.3)."""
        self._registers[Slot.CTL] = 0
        self._registers[Slot.CTL2] = 0
        self._registers[Slot.CONFIG] = self.rules.config
        if self.rules.scheme is not Scheme.INTEL:
            self._registers[Slot.MISC] &= ~(mci_misc.COUNTER_ENABLE.mask | mci_misc.INT_TYPE.mask)

    def cold_reset(self) -> None:
        """Power-on: the bank is empty."""
        self._registers = dict.fromkeys(Slot, 0)
        self._registers[Slot.CONFIG] = self.rules.config
        self._registers[Slot.IPID] = self.rules.ipid
        if self.rules.scheme is not Scheme.INTEL and self.rules.counts:
            self._registers[Slot.MISC] = _MISC0_AT_RESET
