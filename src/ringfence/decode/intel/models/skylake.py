"""Skylake-SP, Cascade Lake, Cooper Lake (06_55H): PCU, UPI, M2M, CHA, memory controllers.

Source: SDM vol. 3B chapter 18, 06_55H; the memory channel of a bank from mcelog (skylake_xeon.c); units of banks 6 and
9 to 11 from the MSR tables of SDM vol. 4.
"""

from __future__ import annotations

from ringfence.arch.mci_status import UC
from ringfence.decode.intel.bank import (
    MSCOD_ONLY,
    NOTHING,
    Bank,
    Banks,
    Logged,
    Reads,
    Specific,
    choice,
    code_names,
    declare,
    flags,
    for_interconnect,
    misc_bits,
    only_for,
)
from ringfence.decode.intel.models.core_banks import CORE

_FIRMWARE = {
    0x0D: "MCA_DMI_TRAINING_TIMEOUT",
    0x0F: "MCA_DMI_CPU_RESET_ACK_TIMEOUT",
    0x10: "MCA_MORE_THAN_ONE_LT_AGENT",
    0x1E: "MCA_BIOS_RST_CPL_INVALID_SEQ",
    0x1F: "MCA_BIOS_INVALID_PKG_STATE_CONFIG",
    0x25: "MCA_MESSAGE_CHANNEL_TIMEOUT",
    0x27: "MCA_MSGCH_PMREQ_CMP_TIMEOUT",
    0x30: "MCA_PKGC_DIRECT_WAKE_RING_TIMEOUT",
    0x31: "MCA_PKGC_INVALID_RSP_PCH",
    0x33: "MCA_PKGC_WATCHDOG_HANG_CBZ_DOWN",
    0x34: "MCA_PKGC_WATCHDOG_HANG_CBZ_UP",
    0x38: "MCA_PKGC_WATCHDOG_HANG_C3_UP_SF",
    0x40: "MCA_SVID_VCCIN_VR_ICC_MAX_FAILURE",
    0x41: "MCA_SVID_COMMAND_TIMEOUT",
    0x42: "MCA_SVID_VCCIN_VR_VOUT_FAILURE",
    0x43: "MCA_SVID_CPU_VR_CAPABILITY_ERROR",
    0x44: "MCA_SVID_CRITICAL_VR_FAILED",
    0x45: "MCA_SVID_SA_ITD_ERROR",
    0x46: "MCA_SVID_READ_REG_FAILED",
    0x47: "MCA_SVID_WRITE_REG_FAILED",
    0x48: "MCA_SVID_PKGC_INIT_FAILED",
    0x49: "MCA_SVID_PKGC_CONFIG_FAILED",
    0x4A: "MCA_SVID_PKGC_REQUEST_FAILED",
    0x4B: "MCA_SVID_IMON_REQUEST_FAILED",
    0x4C: "MCA_SVID_ALERT_REQUEST_FAILED",
    0x4D: "MCA_SVID_MCP_VR_ABSENT_OR_RAMP_ERROR",
    0x4E: "MCA_SVID_UNEXPECTED_MCP_VR_DETECTED",
    0x51: "MCA_FIVR_CATAS_OVERVOL_FAULT",
    0x52: "MCA_FIVR_CATAS_OVERCUR_FAULT",
    0x58: "MCA_WATCHDOG_TIMEOUT_PKGC_SECONDARY",
    0x59: "MCA_WATCHDOG_TIMEOUT_PKGC_MAIN",
    0x5A: "MCA_WATCHDOG_TIMEOUT_PKGS_MAIN",
    0x61: "MCA_PKGS_CPD_UNCPD_TIMEOUT",
    0x63: "MCA_PKGS_INVALID_REQ_PCH",
    0x64: "MCA_PKGS_INVALID_REQ_INTERNAL",
    0x65: "MCA_PKGS_INVALID_RSP_INTERNAL",
    0x6B: "MCA_PKGS_SMBUS_VPP_PAUSE_TIMEOUT",
    0x81: "MCA_RECOVERABLE_DIE_THERMAL_TOO_HOT",
}

PCU_CODES = code_names(
    {
        0x0402: "PCU internal error",
        0x0403: "Internal error 0x0403 of the PCU",
        0x0406: "Intel TXT error",
        0x0407: "Other UBOX internal error",
    }
)

UPI_NAMES = {
    0x00: "uncorrected: physical layer initialisation failed",
    0x01: "uncorrected: physical layer drift buffer alarm",
    0x02: "uncorrected: physical layer latency buffer rollover",
    0x10: "uncorrected: receiver CRC error, link-level retry aborted",
    0x11: "uncorrected: unsupported or undefined packet received",
    0x12: "uncorrected: link layer or physical layer control error",
    0x13: "uncorrected: receiver parameter exchange exception",
    0x1F: "uncorrected: control error from the link-mesh interface",
    0x20: "corrected: physical layer initialisation aborted",
    0x21: "corrected: physical layer reset",
    0x22: "corrected: lane failure, recovered in x8 width",
    0x23: "corrected: L0c error, without physical layer reset",
    0x24: "corrected: L0c error that triggered a physical layer reset",
    0x25: "corrected: L0p exit error, with physical layer reset",
    0x30: "corrected: receiver CRC error, retried without re-initialising the physical layer",
    0x31: "corrected: receiver CRC error, retried after re-initialising the physical layer",
}
UPI_CONTROL_ERROR = 0x12
UPI_CONTROL_FLAGS = {
    22: "physical layer control error",
    23: "unexpected Retry.Ack flit",
    24: "unexpected Retry.Req flit",
    25: "RF parity error",
    26: "routeback table error",
    27: "unexpected protocol flit to send (EOP, header or data)",
    28: "receiver header or credit BGF overflow or underflow",
    29: "link layer reset still going on when the physical layer entered L0",
    30: "link layer reset while protocol traffic was not idle",
    31: "link layer transmit parity error",
}

_UPI = (
    for_interconnect(
        choice(UPI_NAMES, high=21, low=16),
        only_for(
            lambda logged: logged.bits(21, 16) == UPI_CONTROL_ERROR,
            flags(UPI_CONTROL_FLAGS, high=31, low=22),
            looks=MSCOD_ONLY,
        ),
    ),
)

M2M_FLAGS = {
    16: "data error on a read (MscodDataRdErr)",
    18: "data error on a partial write (MscodPtlWrErr)",
    19: "data error on a full write (MscodFullWrErr)",
    20: "clock-domain crossing buffer error (MscodBgfErr)",
    21: "time-out (MscodTimeout)",
    22: "tracker parity error (MscodParErr)",
    23: "fatal error (MscodBucket1Err)",
}


@declare(MSCOD_ONLY)
def m2m_rest(logged: Logged) -> Specific:
    """MSCOD[15:8] of an M2M bank: DDR type and miscellaneous errors, whose values the SDM does not explain."""
    ddr_type, others = logged.bits(25, 24), logged.bits(31, 26)
    details = []
    if ddr_type:
        details.append(f"MscodDDRType {ddr_type}")
    if others:
        details.append(f"MscodMiscErrs {others:#x}")
    return Specific(details=tuple(details))


@declare(Reads(misc=3 << 62))
def mirror(logged: Logged) -> Specific:
    """MCi_MISC[63:62] of an M2M bank: how mirroring corrected the error."""
    if logged.misc is None or UC.of(logged.status):
        return NOTHING
    if misc_bits(logged.misc, 63, 63):
        return Specific(details=("corrected by mirroring, with failover of the channel",))
    if misc_bits(logged.misc, 62, 62):
        return Specific(details=("corrected by mirroring, the primary channel was scrubbed",))
    return NOTHING


M2M = (flags(M2M_FLAGS, high=23, low=16), m2m_rest, mirror)

_IMC_FLAGS = {
    16: "address parity error",
    17: "home agent write data parity error",
    18: "home agent write byte enable parity error",
    19: "corrected patrol scrub error",
    20: "uncorrected patrol scrub error",
    21: "corrected spare error",
    22: "uncorrected spare error",
    23: "read error reported to the home agent",
    24: "parity error on a read of the write data buffer (WDB)",
    25: "DDR4 command/address parity error",
    26: "uncorrected address parity error",
}
_IMC_NUMBERS = {
    0x0800: "unrecognised request type",
    0x0801: "read response to an invalid scoreboard entry",
    0x0802: "unexpected read response",
    0x0803: "DDR4 completion to an invalid scoreboard entry",
    0x0804: "completion to an invalid scoreboard entry",
    0x0805: "completion FIFO overflow",
    0x0806: "correctable parity error",
    0x0807: "uncorrectable error",
    0x0808: "interrupt while the last one was not acknowledged",
    0x0809: "ERID FIFO overflow",
    0x080A: "write credit error",
    0x080B: "read credit error",
    0x080C: "scheduler error",
    0x080D: "error event",
}


def _is_numbered(logged: Logged) -> bool:
    return bool(logged.bits(27, 27))


_IMC = (
    only_for(_is_numbered, choice(_IMC_NUMBERS), looks=MSCOD_ONLY),
    only_for(lambda logged: not _is_numbered(logged), flags(_IMC_FLAGS), looks=MSCOD_ONLY),
)

# mcelog, skylake_xeon.c: the third channel of each controller came last.
_CHANNELS = {13: (0, 0), 14: (0, 1), 15: (1, 0), 16: (1, 1), 17: (0, 2), 18: (1, 2)}

SKYLAKE_SP: Banks = {
    **CORE,
    4: Bank(
        "Power control unit (PCU)",
        (
            PCU_CODES,
            choice(dict.fromkeys((1, 2, 3), "PCU internal error"), high=19, low=16),
            choice(_FIRMWARE, high=31, low=24),
        ),
    ),
    **dict.fromkeys((5, 12, 19), Bank("Intel UPI", _UPI)),
    6: Bank("Integrated I/O (IIO)"),
    7: Bank("Mesh to memory (M2M) 0", M2M, 0),
    8: Bank("Mesh to memory (M2M) 1", M2M, 1),
    **dict.fromkeys((9, 10, 11), Bank("Caching and home agents (CHA) and LLC slices")),
    **{
        bank: Bank(f"Integrated memory controller (iMC) {controller}, channel {channel}", _IMC, controller, channel)
        for bank, (controller, channel) in _CHANNELS.items()
    },
}
"""06_55H."""
