"""MCA_ADDR of a Scalable MCA bank: what kind of address it holds, how fine, and whether it names a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringfence.arch import mci_status, smca_registers
from ringfence.arch.cpuid import Signature
from ringfence.arch.smca_banks import BankType
from ringfence.decode.meaning import Address, AddressKind, Placed
from ringfence.record.evidence import Registers

_LINEAR_TLB: Final = "the PPR says that this error logs a virtual address (54945, MCA_CTL_LS)"
_LINEAR_WATCHDOG: Final = (
    "a watchdog timeout logs the linear address of an instruction (public logs of Zen to Zen 3 all hold kernel or user "
    "instruction pointers)"
)
_LINE: Final = "the error is in the data of a line of memory, which these units address physically"
_UNPUBLISHED: Final = "no source that we could check says which kind of address this error logs"
_NOT_TRUSTED: Final = (
    "Linux takes an address of these banks for usable only with Poison or with PhysAddrV (amd_mce_usable_address)"
)
_NORMALISED: Final = (
    "a UMC logs a normalised address: an offset in the memory of its own channel. Only the memory map of that machine "
    "(Linux: AMD address translation library) turns it into a system address"
)

_DRAM_ADDRESS: Final = (
    "this UMC logs stack, pseudo-channel, row, bank and column in its own channel, which only the memory map of that "
    "machine turns into a system address"
)

_KINDS: Mapping[str, Mapping[int, tuple[AddressKind, str]]] = {
    "LS": {
        **dict.fromkeys((16, 17), (AddressKind.LINEAR, _LINEAR_TLB)),
        **dict.fromkeys((9, 10, 12, 13, 14, 20), (AddressKind.PHYSICAL, _LINE)),
    },
    "LS_V2": dict.fromkeys((0, 1, 2, 6, 7, 18, 19, 20, 21), (AddressKind.PHYSICAL, _LINE)),
    "IF": dict.fromkeys((12, 13), (AddressKind.PHYSICAL, _LINE)),
    "L2": {2: (AddressKind.PHYSICAL, _LINE)},
    "L3": {4: (AddressKind.PHYSICAL, _LINE)},
    "CS": {1: (AddressKind.PHYSICAL, "the address of the refused request")},
    "CS_V2": {1: (AddressKind.PHYSICAL, "the address of the refused request")},
    "EX": {0: (AddressKind.LINEAR, _LINEAR_WATCHDOG)},
}
"""Bank type and ErrorCodeExt to the kind of address. Only what a source or many logs attest; see ``_UNPUBLISHED``."""

_MEMORY_CONTROLLERS: Final = frozenset({"UMC", "UMC_V2"})

_DEVICE_HOLE: Final = range(0xFC00_0000, 0x1_0000_0000)
"""Below 4 GiB every PC maps firmware, APICs and devices here, never DRAM."""

_ALL_BITS: Final = (1 << 64) - 1
_FIRST_FAMILY_WITH_LSB_IN_STATUS: Final = 0x19


@dataclass(frozen=True, slots=True)
class Logged:
    """One SMCA bank as logged: ``bank`` None if its type is unknown; ``doubts``: contradictions in the record."""

    registers: Registers
    status: int
    bank: BankType | None
    signature: Signature | None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AddressReading:
    """The address, and what had to be assumed to read it."""

    address: Address
    assumptions: tuple[str, ...] = ()


def read_address(logged: Logged) -> AddressReading:
    """Reads MCA_ADDR. An address of a record that contradicts itself names nothing."""
    if not mci_status.ADDRV.of(logged.status):
        return AddressReading(Address(None, AddressKind.NONE, None, False, "ADDRV is clear: no address was logged"))
    mask, granularity_bytes, assumptions, told = _valid_bits(logged)
    value = None if logged.registers.addr is None else logged.registers.addr & mask
    if value is not None and told is not None:
        value &= -(1 << told.of(logged.status))
    kind, why = _kind(logged)
    names_a_page, because = _trust(logged, kind, why, value)
    if value is None:
        because = f"ADDRV is set, but the evidence does not carry MCA_ADDR; {because}"
        names_a_page = False
    return AddressReading(Address(value, kind, granularity_bytes, names_a_page, because, mask, told), assumptions)


def _valid_bits(logged: Logged) -> tuple[int, int | None, tuple[str, ...], Placed | None]:
    """Which bits of MCA_ADDR are the address, its granularity in bytes, what was assumed, and where its LSB is told."""
    logged_address = logged.registers.addr
    if logged_address is None:
        return _ALL_BITS, None, (), None
    in_status, assumptions = lsb_in_status(logged.registers, logged.signature)
    if in_status is None:
        return smca_registers.ERROR_ADDR.mask, None, assumptions, None
    if in_status:
        return smca_registers.ERROR_ADDR_WIDE.mask, 1 << mci_status.ADDR_LSB.of(logged.status), assumptions, _LSB
    lsb = smca_registers.ADDR_LSB_IN_ADDR.of(logged_address)
    mask = smca_registers.ERROR_ADDR.mask
    if lsb == 0:
        # Linux prints the address after it has cut the field off: zero may mean "bit 0" or "not there".
        return mask, None, assumptions, None
    return mask >> lsb << lsb, 1 << lsb, assumptions, None


_LSB: Final = Placed("lsb", "status", ((mci_status.ADDR_LSB.high, mci_status.ADDR_LSB.low, 0),))


def lsb_in_status(registers: Registers, signature: Signature | None) -> tuple[bool | None, tuple[str, ...]]:
    """Where the least significant valid bit is told: in MCA_STATUS (True), in MCA_ADDR (False), nobody knows (None)."""
    if registers.config is not None:
        return bool(smca_registers.LSB_IN_STATUS.of(registers.config)), ()
    if signature is None:
        return None, ()
    if signature.family >= _FIRST_FAMILY_WITH_LSB_IN_STATUS:
        return True, ("MCA_CONFIG is not in the evidence: AddrLsb is read from MCA_STATUS, as in family 19h and later",)
    return False, ("MCA_CONFIG is not in the evidence: AddrLsb is read from MCA_ADDR[61:56], as in family 17h",)


def _kind(logged: Logged) -> tuple[AddressKind, str]:
    """What MCA_ADDR holds, and why we think so."""
    bank = logged.bank
    if _supports_paddrv(logged.registers) and mci_status.PADDRV.of(logged.status):
        return AddressKind.PHYSICAL, "MCA_STATUS.PhysAddrV says that it is a system physical address"
    if bank is None:
        return AddressKind.UNKNOWN, "the bank's type is not known"
    if bank.symbol in _MEMORY_CONTROLLERS:
        is_dram = is_dram_address(bank, logged.status, logged.signature)
        return AddressKind.NORMALISED, _DRAM_ADDRESS if is_dram else _NORMALISED
    known = _KINDS.get(bank.symbol, {}).get(mci_status.XEC.of(logged.status))
    if known is not None:
        return known
    if bank.core and _consumed_poison(logged.status):
        return AddressKind.PHYSICAL, "a unit of the core consumed poisoned data from there"
    return AddressKind.UNKNOWN, _UNPUBLISHED


def has_stacked_memory(signature: Signature) -> bool:
    """Whether the processor's own UMCs drive HBM stacks: MI300A, family 19h models 90h-9Fh."""
    return signature.family == 0x19 and 0x90 <= signature.model <= 0x9F


def is_dram_address(bank: BankType, status: int, signature: Signature | None) -> bool:
    """Whether MCA_ADDR is a DRAM address: MI300A's, for ECC errors (Linux drivers/ras/amd/atl/umc.c)."""
    if bank.symbol != "UMC" or mci_status.XEC.of(status) != 0:
        return False
    return signature is not None and has_stacked_memory(signature)


def _supports_paddrv(registers: Registers) -> bool:
    return registers.config is not None and smca_registers.PADDRV_SUPPORTED.of(registers.config) == 1


def _consumed_poison(status: int) -> bool:
    """Poison means something for consumed errors only (AMD on qemu-devel: hardware never sets it with Deferred)."""
    return bool(mci_status.POISON.of(status) and mci_status.UC.of(status))


def _trust(logged: Logged, kind: AddressKind, why: str, value: int | None) -> tuple[bool, str]:
    """Whether the address names a page of memory, and the reason in one sentence."""
    if logged.doubts:
        return False, f"the record contradicts itself ({logged.doubts[0]}); {why}"
    if kind is not AddressKind.PHYSICAL:
        return False, why
    if value is not None and value in _DEVICE_HOLE:
        return False, f"{why}; yet it lies at the top of the first 4 GiB, where devices and firmware are, not memory"
    if _supports_paddrv(logged.registers):
        if mci_status.PADDRV.of(logged.status):
            return True, why
        return False, "MCA_STATUS.PhysAddrV is clear: the bank itself says that this is no system physical address"
    if _consumed_poison(logged.status):
        return True, f"{why}; Poison is set: the processor consumed poisoned data, and logs where it came from"
    return False, f"{why}; {_NOT_TRUSTED}"
