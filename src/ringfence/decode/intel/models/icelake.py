"""Ice Lake-SP and Ice Lake-D (06_6AH, 06_6CH), Tremont-D (06_86H): PCU, UPI, M2M, memory controllers with location.

Source: SDM vol. 3B chapter 18, 06_6AH, 06_6CH and 06_86H; MCi_MISC of the memory controllers from Linux
drivers/edac/i10nm_base.c (i10nm_mc_decode) and mcelog (i10nm.c). Mnemonics are the manual's.
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
    Reader,
    Reads,
    Specific,
    choice,
    code_names,
    declare,
    flags,
    for_interconnect,
    misc_bits,
)
from ringfence.decode.intel.bank import only_for as when
from ringfence.decode.intel.models.core_banks import CORE
from ringfence.decode.intel.models.skylake import M2M, UPI_CONTROL_ERROR, UPI_CONTROL_FLAGS, UPI_NAMES
from ringfence.decode.meaning import Placed, located

PCU_FIRMWARE = {
    0x0D: "MCA_LLC_BIST_ACTIVE_TIMEOUT",
    0x0E: "MCA_DMI_TRAINING_TIMEOUT",
    0x0F: "MCA_DMI_STRAP_SET_ARRIVAL_TIMEOUT",
    0x10: "MCA_DMI_CPU_RESET_ACK_TIMEOUT",
    0x11: "MCA_MORE_THAN_ONE_LT_AGENT",
    0x14: "MCA_INCOMPATIBLE_PCH_TYPE",
    0x1E: "MCA_BIOS_RST_CPL_INVALID_SEQ",
    0x1F: "MCA_BIOS_INVALID_PKG_STATE_CONFIG",
    0x2D: "MCA_PCU_PMAX_CALIB_ERROR",
    0x2E: "MCA_TSC100_SYNC_TIMEOUT",
    0x3A: "MCA_GPSB_TIMEOUT",
    0x3B: "MCA_PMSB_TIMEOUT",
    0x3E: "MCA_IOSFSB_PMREQ_CMP_TIMEOUT",
    0x40: "MCA_SVID_VCCIN_VR_ICC_MAX_FAILURE",
    0x42: "MCA_SVID_VCCIN_VR_VOUT_FAILURE",
    0x43: "MCA_SVID_CPU_VR_CAPABILITY_ERROR",
    0x44: "MCA_SVID_CRITICAL_VR_FAILED",
    0x45: "MCA_SVID_SA_ITD_ERROR",
    0x46: "MCA_SVID_READ_REG_FAILED",
    0x47: "MCA_SVID_WRITE_REG_FAILED",
    0x4A: "MCA_SVID_PKGC_REQUEST_FAILED",
    0x4B: "MCA_SVID_IMON_REQUEST_FAILED",
    0x4C: "MCA_SVID_ALERT_REQUEST_FAILED",
    0x4D: "MCA_SVID_MCP_VR_RAMP_ERROR",
    0x56: "MCA_FIVR_PD_HARDERR",
    0x58: "MCA_WATCHDOG_TIMEOUT_PKGC_SECONDARY",
    0x59: "MCA_WATCHDOG_TIMEOUT_PKGC_MAIN",
    0x5A: "MCA_WATCHDOG_TIMEOUT_PKGS_MAIN",
    0x5B: "MCA_WATCHDOG_TIMEOUT_MSG_CH_FSM",
    0x5C: "MCA_WATCHDOG_TIMEOUT_BULK_CR_FSM",
    0x5D: "MCA_WATCHDOG_TIMEOUT_IOSFSB_FSM",
    0x60: "MCA_PKGS_SAFE_WP_TIMEOUT",
    0x61: "MCA_PKGS_CPD_UNCPD_TIMEOUT",
    0x62: "MCA_PKGS_INVALID_REQ_PCH",
    0x63: "MCA_PKGS_INVALID_REQ_INTERNAL",
    0x64: "MCA_PKGS_INVALID_RSP_INTERNAL",
    **dict.fromkeys(range(0x65, 0x7B), "MCA_PKGS_RESET_PREP_TIMEOUT"),
    0x7B: "MCA_PKGS_SMBUS_VPP_PAUSE_TIMEOUT",
    0x7C: "MCA_PKGS_SMBUS_MCP_PAUSE_TIMEOUT",
    0x7D: "MCA_PKGS_SMBUS_SPD_PAUSE_TIMEOUT",
    0x80: "MCA_PKGC_DISP_BUSY_TIMEOUT",
    0x81: "MCA_PKGC_INVALID_RSP_PCH",
    0x83: "MCA_PKGC_WATCHDOG_HANG_CBZ_DOWN",
    0x84: "MCA_PKGC_WATCHDOG_HANG_CBZ_UP",
    0x87: "MCA_PKGC_WATCHDOG_HANG_C2_BLKMASTER",
    0x88: "MCA_PKGC_WATCHDOG_HANG_C2_PSLIMIT",
    0x89: "MCA_PKGC_WATCHDOG_HANG_SETDISP",
    0x8B: "MCA_PKGC_ALLOW_L1_ERROR",
    0x90: "MCA_RECOVERABLE_DIE_THERMAL_TOO_HOT",
    0xA0: "MCA_ADR_SIGNAL_TIMEOUT",
    0xA1: "MCA_BCLK_FREQ_OC_ABOVE_THRESHOLD",
    0xB0: "MCA_DISPATCHER_RUN_BUSY_TIMEOUT",
}
PCU_HARDWARE = {
    0x4: "clock or power IP did not respond in time",
    0x5: "the SMBus controller raised an SMI",
    0x9: "the power management controller received an invalid transaction",
}
PCU_MICROCONTROLLER = {
    0x1: "instruction address out of valid space",
    0x2: "double-bit RAM error on an instruction fetch",
    0x3: "invalid opcode",
    0x4: "stack underflow",
    0x5: "stack overflow",
    0x6: "data address out of valid space",
    0x7: "double-bit RAM error on a data fetch",
}
PCU = "Power control unit (PCU)"
PCU_READERS: tuple[Reader, ...] = (
    choice(PCU_FIRMWARE, high=31, low=24),
    choice(PCU_HARDWARE, high=23, low=20),
    choice(PCU_MICROCONTROLLER, high=19, low=16),
)

_UPI_CONTROL: tuple[Reader, ...] = (
    when(
        lambda logged: logged.bits(21, 16) == UPI_CONTROL_ERROR,
        flags(UPI_CONTROL_FLAGS, high=31, low=22),
        looks=MSCOD_ONLY,
    ),
    when(
        lambda logged: logged.bits(21, 16) != UPI_CONTROL_ERROR and bool(logged.bits(31, 22)),
        declare(MSCOD_ONLY)(
            lambda logged: Specific(
                details=(f"MSCOD[15:6] {logged.bits(31, 22):#05x}, defined for control errors only",)
            )
        ),
        looks=MSCOD_ONLY,
    ),
)
UPI_READERS: tuple[Reader, ...] = (for_interconnect(choice(UPI_NAMES, high=21, low=16), *_UPI_CONTROL),)
_UPI_READERS = (
    for_interconnect(
        choice({**UPI_NAMES, 0x32: "corrected: sender received a link-level retry"}, high=21, low=16),
        *_UPI_CONTROL,
    ),
)

IMC_NAMES = {
    0x0001: "address parity error",
    0x0002: "data parity error",
    0x0003: "data ECC error",
    0x0004: "data byte enable parity error",
    0x0007: "transaction ID parity error",
    0x0008: "corrected patrol scrub error",
    0x0010: "uncorrected patrol scrub error",
    0x0020: "corrected spare error",
    0x0040: "uncorrected spare error",
    0x0080: "corrected read error",
    0x00A0: "uncorrected read error",
    0x00C0: "uncorrected metadata error",
    0x0100: "parity error on a read of the write data buffer (WDB)",
    0x0108: "DDR link failure",
    0x0200: "DDR command/address parity error",
    0x0400: "RPQ parity error (primary)",
    0x0800: "DDR-T: bad request",
    0x0801: "DDR data response to an invalid entry",
    0x0802: "DDR data response to an entry that expected none",
    0x0803: "DDR completion to an invalid entry",
    0x0804: "DDR-T: completion to an invalid entry",
    0x0805: "DDR data/completion FIFO overflow",
    0x0806: "DDR-T: ERID correctable parity error",
    0x0807: "DDR-T: ERID uncorrectable error",
    0x0808: "DDR-T: interrupt while the last one was not acknowledged",
    0x0809: "ERID FIFO overflow",
    0x080A: "DDR-T: FNV write credit error",
    0x080B: "DDR-T: FNV read credit error",
    0x080C: "DDR-T: scheduler error",
    0x080D: "DDR-T: FNV error event",
    0x080E: "DDR-T: FNV thermal event",
    0x080F: "CMI packet while idle",
    0x0810: "DDR_T_RPQ_REQ_PARITY_ERR",
    0x0811: "DDR_T_WPQ_REQ_PARITY_ERR",
    0x0812: "2LM_NMFILLWR_CAM_ERR",
    0x0813: "CMI_CREDIT_OVERSUB_ERR",
    0x0814: "CMI_CREDIT_TOTAL_ERR",
    0x0815: "CMI_CREDIT_RSVD_POOL_ERR",
    0x0816: "DDR_T_RD_ERROR",
    0x0817: "WDB_FIFO_ERR",
    0x0818: "CMI_REQ_FIFO_OVERFLOW",
    0x0819: "CMI_REQ_FIFO_UNDERFLOW",
    0x081A: "CMI_RSP_FIFO_OVERFLOW",
    0x081B: "CMI_RSP_FIFO_UNDERFLOW",
    0x081C: "CMI_MISC_MC_CRDT_ERRORS",
    0x081D: "CMI_MISC_MC_ARB_ERRORS",
    0x081E: "DDR_T_WR_CMPL_FIFO_OVERFLOW",
    0x081F: "DDR_T_WR_CMPL_FIFO_UNDERFLOW",
    0x0820: "CMI_RD_CPL_FIFO_OVERFLOW",
    0x0821: "CMI_RD_CPL_FIFO_UNDERFLOW",
    0x0822: "TME_KEY_PAR_ERR",
    0x0823: "TME_CMI_MISC_ERR",
    0x0824: "TME_CMI_OVFL_ERR",
    0x0825: "TME_CMI_UFL_ERR",
    0x0826: "TME_TEM_SECURE_ERR",
    0x0827: "TME_UFILL_PAR_ERR",
    0x0829: "INTERNAL_ERR",
    0x082A: "TME_INTEGRITY_ERR",
    0x082B: "TME_TDX_ERR",
    0x082C: "TME_UFILL_TEM_SECURE_ERR",
    0x082D: "TME_KEY_POISON_ERR",
    0x082E: "TME_SECURITY_ENGINE_ERR",
    0x1008: "corrected patrol scrub error on the mirror's second channel (CORR_PATSCRUB_MIRR2ND_ERR)",
    0x1010: "uncorrected patrol scrub error on the mirror's second channel (UC_PATSCRUB_MIRR2ND_ERR)",
    0x1020: "corrected spare error on the mirror's second channel (COR_SPARE_MIRR2ND_ERR)",
    0x1040: "uncorrected spare error on the mirror's second channel (UC_SPARE_MIRR2ND_ERR)",
    0x1080: "corrected read error on the mirror's second channel (HA_RD_MIRR2ND_ERR)",
    0x10A0: "uncorrected read error on the mirror's second channel (HA_UNCORR_RD_MIRR2ND_ERR)",
}
_IMC_ICX = {
    **IMC_NAMES,
    0x0103: "RPA parity error",
    0x0106: "DDR_T_DPPP data byte enable error",
    0x0107: "DDR_T_DPPP data error",
    0x0111: "PCLS CAM error",
    0x0112: "PCLS data error",
    0x0220: "HBM command/address parity error",
    0x0221: "HBM data parity error",
}

_DDRT_MSCODS = frozenset(
    {0x106, 0x107, 0x800, 0x804, 0x806, 0x807, 0x808, *range(0x80A, 0x80F), 0x810, 0x811, 0x816, 0x81E, 0x81F}
)
_ECC_DDRT = 8
_ECC_MODES = {0: "SDDC, memory mode", 1: "SDDC", 4: "ADDDC, memory mode", 5: "ADDDC", _ECC_DDRT: "DDR-T read"}


def has_dram_location(logged: Logged) -> bool:
    """MISC places a DRAM error: MISCV, a memory controller error, and not one of persistent memory (DDR-T)."""
    return (
        logged.misc is not None
        and logged.code.is_memory
        and logged.mscod not in _DDRT_MSCODS
        and misc_bits(logged.misc, 62, 59) != _ECC_DDRT
    )


LOCATED = MSCOD_ONLY | Reads(code=(lambda code: code.is_memory,), place=(lambda mscod: mscod in _DDRT_MSCODS,))
"""What ``has_dram_location`` looks at, MCi_MISC aside."""

_PLACES = (
    Placed("bank_group", "misc", ((41, 40, 0), (44, 44, 2))),
    Placed("bank", "misc", ((43, 42, 0),)),
    Placed("row", "misc", ((39, 19, 0),)),
    Placed("column", "misc", ((18, 9, 2),)),
    Placed("slot", "misc", ((58, 58, 0),)),
    Placed("rank", "misc", ((57, 56, 0),)),
)
_DEVICE = Placed("device", "misc", ((51, 46, 0),))


@declare(LOCATED | Reads(misc=0x7FF << 52 | 1 << 63, misc_place=0x1F << 59))
def _dram_location(logged: Logged) -> Specific:
    """MCi_MISC[63:9]: column, row, bank group and bank, failed device, rank, ECC mode, transient."""
    if logged.misc is None or not has_dram_location(logged):
        return NOTHING
    misc = logged.misc
    if not misc & DRAM_LOCATION:
        return NO_DRAM_LOCATION
    rank, transient = misc_bits(misc, 58, 56), bool(misc_bits(misc, 63, 63))
    placed = _PLACES if transient or UC.of(logged.status) else (*_PLACES, _DEVICE)
    details = [
        f"rank field {rank} (EDAC: rank {rank & 3} of DIMM {rank >> 2}), subrank {misc_bits(misc, 55, 52)}",
        f"ECC mode {_name(_ECC_MODES, misc_bits(misc, 62, 59))}",
    ]
    if transient:
        details.append("transient: the retried read was good")
    return Specific(
        details=tuple(details),
        location=located(NOWHERE, placed, misc),
        placed=placed,
    )


def _name(names: dict[int, str], value: int) -> str:
    return names.get(value, f"{value} (reserved)")


_IMC = (choice(_IMC_ICX), _dram_location)
_PCU: Banks = {4: Bank(PCU, (code_names({0x0402: "PCU internal error"}), *PCU_READERS))}


def _controllers(count: int) -> Banks:
    """Each controller: its M2M bank, then its channels' (bank 12 + 4 * controller on)."""
    rows: dict[int, Bank] = {}
    for controller in range(count):
        first = 12 + 4 * controller
        rows[first] = Bank(f"Mesh to memory (M2M) {controller}", M2M, controller)
        for channel in range(3):
            unit = f"Integrated memory controller (iMC) {controller}, channel {channel}"
            rows[first + 1 + channel] = Bank(unit, _IMC, controller, channel)
    return rows


ICE_LAKE_SP: Banks = {
    **CORE,
    **_PCU,
    **dict.fromkeys((5, 7, 8), Bank("Intel UPI", _UPI_READERS)),
    **_controllers(4),
}
"""06_6AH."""

ICE_LAKE_D: Banks = {**CORE, **_PCU, **_controllers(2)}
"""06_6CH."""

TREMONT_D: Banks = {**_PCU, **_controllers(1)}
"""06_86H (Snow Ridge, Parker Ridge), whose core is a small one: its banks 0 to 3 are not named in public."""
