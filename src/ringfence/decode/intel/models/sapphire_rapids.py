"""Sapphire Rapids and Emerald Rapids (06_8FH, 06_CFH): PCU, UPI, M2M, DDR5 and HBM memory controllers.

Source: SDM vol. 3B chapter 18, 06_8FH; mcelog (sapphire.c); MCi_MISC of the memory controllers from Linux
drivers/edac/i10nm_base.c (i10nm_mc_decode, case SPR): row is [36:19]; mcelog takes [39:19] and so reads bank group and
bank into the row.
"""

from __future__ import annotations

from ringfence.arch.mci_status import UC
from ringfence.decode.intel.bank import (
    DRAM_LOCATION,
    MSCOD_ONLY,
    NO_DRAM_LOCATION,
    NOTHING,
    NOWHERE,
    Bank,
    Banks,
    Logged,
    Reads,
    Specific,
    choice,
    code_names,
    declare,
    for_interconnect,
    misc_bits,
    only_for,
)
from ringfence.decode.intel.models.core_banks import CORE
from ringfence.decode.intel.models.icelake import (
    IMC_NAMES,
    LOCATED,
    PCU,
    PCU_FIRMWARE,
    PCU_HARDWARE,
    PCU_MICROCONTROLLER,
    UPI_READERS,
    has_dram_location,
)
from ringfence.decode.meaning import Placed, located

_SHUTDOWN_CODE = 0x040C
_SHUTDOWN_CAUSES = {
    0x1: "machine check while CR4.MCE was clear",
    0x2: "machine check while MCG_STATUS.MCIP was set",
    0x3: "machine check under WPS",  # mcelog's words (sapphire.c); no public source spells WPS out
    0x4: "unrecoverable error in a security flow",
    0x5: "shutdown after a triple fault",
    0x6: "VMX exit consistency checks failed",
    0x7: "RSM consistency checks failed",
    0x8: "invalid conditions on protected-mode SMM entry",
    0x9: "unrecoverable error in a security flow (microcode patch load)",
}


def _is_shutdown(logged: Logged) -> bool:
    return logged.code.base == _SHUTDOWN_CODE


_CODE = Reads(code=(lambda code: code.base == _SHUTDOWN_CODE,))


_PCU_READERS = (
    code_names({0x0402: "PCU internal error", _SHUTDOWN_CODE: "Shutdown error"}),
    choice({**PCU_FIRMWARE, 0xC0: "MCA_DISPATCHER_RUN_BUSY_TIMEOUT"}, high=31, low=24),
    choice(PCU_HARDWARE, high=23, low=20),
    only_for(_is_shutdown, choice(_SHUTDOWN_CAUSES, high=19, low=16), looks=_CODE),
    only_for(lambda logged: not _is_shutdown(logged), choice(PCU_MICROCONTROLLER, high=19, low=16), looks=_CODE),
)

_UPI_READERS = (
    for_interconnect(
        only_for(
            lambda logged: logged.bits(21, 16) == 0x15,
            declare(Reads())(lambda _: Specific(phrases=("uncorrected: receiver SGX MAC error",))),
            looks=MSCOD_ONLY,
        ),
        only_for(lambda logged: logged.bits(21, 16) != 0x15, *UPI_READERS, looks=MSCOD_ONLY),
    ),
)

_M2M_NAMES = {
    0x01: "ECC error on a read",
    0x02: "fatal (Bucket1) error",
    0x03: "read tracker parity error",
    0x05: "prefetch channel mismatch",
    0x07: "parity error in a read completion",
    0x08: "parity error in a response",
    0x09: "time-out",
    0x0A: "CMI reserved credit pool error",
    0x0B: "CMI total credit count error",
    0x0C: "CMI credit oversubscription error",
}


@declare(MSCOD_ONLY)
def _memory_type(logged: Logged) -> Specific:
    """MSCOD[9:8] of the M2M bank: 1 is high-bandwidth memory; the other values are not explained in public."""
    match logged.bits(25, 24):
        case 0:
            return NOTHING
        case 1:
            return Specific(details=("the error is of high-bandwidth memory (HBM)",))
        case other:
            return Specific(details=(f"memory type {other} (MCi_STATUS[25:24])",))


_M2M = (choice(_M2M_NAMES, high=23, low=16), _memory_type)

_ECC_MODES = (
    "SDDC, two-level memory",
    "SDDC",
    "SDDC+1, two-level memory",
    "SDDC+1",
    "ADDDC, two-level memory",
    "ADDDC",
    "ADDDC+1, two-level memory",
    "ADDDC+1",
    "DDR-T read",
)
_HBM_MODES = {1: "HBM 64-byte read", 9: "HBM 32-byte read"}


_PLACES = (
    Placed("bank_group", "misc", ((38, 37, 0), (41, 41, 2))),
    Placed("bank", "misc", ((40, 39, 0),)),
    Placed("row", "misc", ((36, 19, 0),)),
    Placed("column", "misc", ((18, 9, 2),)),
)
_DIMM = (Placed("slot", "misc", ((58, 58, 0),)), Placed("rank", "misc", ((57, 57, 0),)))
_DEVICE = Placed("device", "misc", ((48, 43, 0),))


@declare(LOCATED | Reads(misc=0x7FF << 52 | 1 << 63, misc_place=0x1F << 59))
def _dram_location(logged: Logged) -> Specific:
    """MCi_MISC[63:9] of a DDR5 channel."""
    if logged.misc is None or not has_dram_location(logged):
        return NOTHING
    misc = logged.misc
    if not misc & DRAM_LOCATION:
        return NO_DRAM_LOCATION
    transient = bool(misc_bits(misc, 63, 63))
    mode = misc_bits(misc, 62, 59)
    placed = (*_PLACES, *_DIMM) if transient or UC.of(logged.status) else (*_PLACES, *_DIMM, _DEVICE)
    details = [f"ECC mode {_ECC_MODES[mode] if mode < len(_ECC_MODES) else f'{mode} (reserved)'}"]
    details.append(f"rank field {misc_bits(misc, 58, 56)} (58:56), subrank {misc_bits(misc, 55, 52)}")
    if transient:
        details.append("transient: the retried read was good")
    return Specific(
        details=tuple(details),
        location=located(NOWHERE, placed, misc),
        placed=placed,
    )


@declare(Reads(misc=(1 << 64) - 1, code=(lambda code: code.is_memory,)))
def _hbm_location(logged: Logged) -> Specific:
    """MCi_MISC[63:9] of a high-bandwidth memory controller, as mcelog reads it: two devices may have failed."""
    if logged.misc is None or not logged.code.is_memory:
        return NOTHING
    misc = logged.misc
    if not misc & DRAM_LOCATION:
        return NO_DRAM_LOCATION
    details = []
    if (mode := _HBM_MODES.get(misc_bits(misc, 62, 59))) is not None:
        details.append(mode)
    transient = bool(misc_bits(misc, 63, 63))
    if transient:
        details.append("transient: the retried read was good")
    if not transient and not UC.of(logged.status):
        details.append(f"failed devices {misc_bits(misc, 55, 51):#x} and {misc_bits(misc, 48, 43):#x}")
    return Specific(
        details=tuple(details),
        location=located(NOWHERE, _PLACES, misc),
        placed=_PLACES,
    )


SAPPHIRE_RAPIDS: Banks = {
    **CORE,
    4: Bank(PCU, _PCU_READERS),
    5: Bank("Intel UPI", _UPI_READERS),
    12: Bank("Mesh to memory (M2M)", _M2M),
    **{
        bank: Bank(
            f"Integrated memory controller (iMC) {(bank - 13) // 2}, channel {(bank - 13) % 2}",
            (choice(IMC_NAMES), _dram_location),
            (bank - 13) // 2,
            (bank - 13) % 2,
        )
        for bank in range(13, 21)
    },
    29: Bank("Mesh to memory (M2M) of high-bandwidth memory", _M2M),
    **dict.fromkeys((30, 31), Bank("High-bandwidth memory (HBM) controller", (choice(IMC_NAMES), _hbm_location))),
}
"""06_8FH and 06_CFH."""
