"""Granite Rapids (06_ADH, 06_AEH), Sierra Forest (06_AFH), Clearwater Forest (06_DDH): one uncore, two kinds of core.

Source: mcelog (granite.c) and rasdaemon (mce-intel-granite.c), both by Intel; SDM vol. 3B chapter 18, 06_ADH.
"""

from __future__ import annotations

from ringfence.arch.mci_status import OTHER_INFORMATION
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
    declare,
    for_interconnect,
    misc_bits,
)
from ringfence.decode.intel.models.core_banks import CORE
from ringfence.decode.meaning import Placed, located

_UPI = choice(
    {
        0x00: "uncorrected: physical layer initialisation failed",
        0x01: "uncorrected: physical layer drift buffer alarm",
        0x02: "uncorrected: physical layer latency buffer rollover",
        0x10: "uncorrected: receiver CRC error, link-level retry aborted",
        0x11: "uncorrected: unsupported or undefined packet received",
        0x12: "uncorrected: link layer or physical layer control error",
        0x13: "uncorrected: receiver parameter exception",
        0x14: "uncorrected: link layer TDX failure",
        0x15: "uncorrected: link layer SGX failure",
        0x16: "uncorrected: transmit SDC parity error",
        0x17: "uncorrected: receive SDC parity error",
        0x18: "uncorrected: link layer FLE failure",
        0x1F: "uncorrected: link layer detected a control error",
        0x20: "corrected: physical layer initialisation aborted",
        0x21: "corrected: physical layer in-band reset",
        0x22: "corrected: lane failure, recovered in x8 width",
        0x23: "corrected: L0c error, without physical layer reset",
        0x24: "corrected: L0c error that triggered a physical layer reset",
        0x25: "corrected: L0p exit error, with physical layer reset",
        0x30: "corrected: receiver CRC error, retried without re-initialising the physical layer",
        0x31: "corrected: receiver CRC error, retried after re-initialising the physical layer",
    }
)

_PUNIT_HARDWARE = choice(
    {
        **dict.fromkeys((0x02, 0x03), "microcontroller double-bit ECC error"),
        **dict.fromkeys((0x08, 0x09), "microcontroller error"),
        0x0A: "microcontroller patch load error",
        0x0B: "microcontroller POReqValid error",
        0x10: "double-bit ECC error in telemetry SRAM",
        0x20: "error signalled by a power management agent",
        0x80: "error signalled by S3M",
        0xA0: "double-bit ECC error in HPM SRAM",
        0xB0: "double-bit ECC error in TPMI SRAM",
    },
    high=23,
    low=16,
)
_PUNIT_FIRMWARE = choice(
    {
        0x09: "TSC download timed out (MCA_TSC_DOWNLOAD_TIMEOUT)",
        0x0B: "GPSB did not respond in time (MCA_GPSB_TIMEOUT)",
        0x0C: "PMSB did not respond in time (MCA_PMSB_TIMEOUT)",
        0x10: "PMAX calibration error (MCA_PMAX_CALIB_ERROR)",
        0x1A: "dispatcher busy for too long (MCA_DISP_RUN_BUSY_TIMEOUT)",
        0x1D: "more than one LT agent at boot (MCA_MORE_THAN_ONE_LT_AGENT)",
        0x23: "SVID error (MCA_PCU_SVID_ERROR)",
        0x35: "invalid SVID VCCIN load line (MCA_SVID_LOADLINE_INVALID)",
        0x36: "invalid SVID ICCMAX (MCA_SVID_ICCMAX_INVALID)",
        0x40: "invalid SVID VID_MAX (MCA_SVID_VIDMAX_INVALID)",
        0x41: "invalid ramp voltage (MCA_SVID_VDDRAMP_INVALID)",
        0x48: "invalid ITD fuses (MCA_ITD_FUSE_INVALID)",
        0x49: "MCA_SVID_DC_LL_INVALID",
        0x4A: "FIVR fault (MCA_FIVR_PD_HARDERR)",
        0x4C: "double-bit error on a read of HPM SRAM (MCA_HPM_DOUBLE_BIT_ERROR_DETECTED)",
        0x56: "invalid fuses for the active VID (SVID_ACTIVE_VID_FUSE_ERROR)",
    },
    high=31,
    low=24,
)

_B2CMI = choice(
    {
        0x01: "ECC error on a read",
        0x02: "fatal (Bucket1) error",
        0x03: "tracker parity error",
        0x04: "security mismatch",
        0x07: "parity error in a read completion",
        0x08: "parity error in a response",
        0x09: "time-out",
        0x0A: "address parity error",
        0x0C: "CMI credit oversubscription error",
        0x0D: "SAI mismatch",
    }
)


def _subchannel(base: int, number: int) -> dict[int, str]:
    """Write path errors, once per subchannel: CMI side (base), write data buffer (base + 0x100)."""
    return {
        base | 0x02: f"CMI write data parity error, subchannel {number}",
        base | 0x03: f"CMI ECC error, subchannel {number}",
        base | 0x04: f"CMI write byte enable parity error, subchannel {number}",
        base | 0x05: f"CMI write MAC parity error, subchannel {number}",
        base + 0x100: f"parity error on a read of the write data buffer, subchannel {number}",
        base + 0x102: f"ECC error on a read of the write data buffer, subchannel {number}",
        base + 0x104: f"byte enable parity error on a read of the write data buffer, subchannel {number}",
        base + 0x106: f"persistent corrected ECC error in the write data buffer, subchannel {number}",
    }


_MCCHAN = choice(
    {
        **_subchannel(0x0000, 0),
        **_subchannel(0x2000, 1),
        0x0001: "address parity error (APPP)",
        0x0008: "corrected patrol scrub error",
        0x0010: "uncorrected patrol scrub error",
        0x0020: "corrected spare error",
        0x0040: "uncorrected spare error",
        0x0080: "transient or correctable error on a demand or underfill read",
        0x00A0: "uncorrectable error on a demand or underfill read",
        0x00B0: "poison was read from memory while poison is disabled in the controller",
        0x00C0: "two-level memory metadata error on a read",
        0x0108: "DDR link failure",
        0x0109: "illegal incoming opcode",
        0x0200: "DDR command/address parity or write CRC error",
        0x0400: "scheduler address parity error",
        0x0832: "memory controller internal error",
        0x0833: "tracker address register file parity error",
    }
)

_ECC_MODES = (
    None,
    "SDDC 128b, one-level memory",
    "SDDC 125b, one-level memory",
    "SDDC 96b, one-level memory",
    "SDDC 96b, two-level memory",
    "ADDDC 80b, one-level memory",
    "ADDDC 80b, two-level memory",
    "ADDDC 64b, one-level memory",
    "9x4 61b, one-level memory",
    "9x4 32b, one-level memory",
    "9x4 32b, two-level memory",
)
_MISC_HAS_LOCATION = 1 << 1
"""Bit 1 of "other information" (MCi_STATUS[33]): MISC holds the DRAM location."""


_PLACES = (
    Placed("bank_group", "misc", ((41, 39, 0),)),
    Placed("bank", "misc", ((38, 37, 0),)),
    Placed("row", "misc", ((36, 19, 0),)),
    Placed("column", "misc", ((18, 9, 2),)),
    Placed("rank", "misc", ((57, 55, 0),)),
)
_DEVICE = Placed("device", "misc", ((48, 43, 0),))


@declare(
    MSCOD_ONLY
    | Reads(
        status=OTHER_INFORMATION.mask,
        misc=0x1FFF << 51,
        misc_place=1 << 63,
        place=(lambda mscod: 0x0800 <= mscod <= 0x082F,),
    )
)
def _dram_location(logged: Logged) -> Specific:
    """MCi_MISC[63:9], if MCi_STATUS[33] says that it is there; not for the internal errors 0800h to 082Fh."""
    if logged.misc is None or not OTHER_INFORMATION.of(logged.status) & _MISC_HAS_LOCATION:
        return NOTHING
    if 0x0800 <= logged.mscod <= 0x082F:
        return NOTHING
    misc = logged.misc
    if not misc & DRAM_LOCATION:
        return NO_DRAM_LOCATION
    transient = bool(misc_bits(misc, 63, 63))
    placed = _PLACES if transient else (*_PLACES, _DEVICE)
    mode = misc_bits(misc, 61, 58)
    name = _ECC_MODES[mode] if mode < len(_ECC_MODES) else None
    details = [f"ECC mode {name or f'{mode} (invalid)'}", f"subrank {misc_bits(misc, 54, 51)}"]
    if transient:
        details.append("transient: the retried read was good")
    return Specific(
        details=tuple(details),
        location=located(NOWHERE, placed, misc),
        placed=placed,
    )


_UNCORE: Banks = {
    5: Bank("Intel UPI", (for_interconnect(_UPI),)),
    6: Bank("Power management unit (Punit)", (_PUNIT_HARDWARE, _PUNIT_FIRMWARE)),
    12: Bank("Mesh to memory (B2CMI)", (_B2CMI,)),
    **{
        bank: Bank(f"Memory controller (MCCHAN), channel {bank - 13}", (_MCCHAN, _dram_location), None, bank - 13)
        for bank in range(13, 25)
    },
}

GRANITE_RAPIDS: Banks = {**CORE, **_UNCORE}
"""06_ADH and 06_AEH."""

SIERRA_FOREST: Banks = _UNCORE
"""06_AFH and 06_DDH, whose cores are small ones: their banks are not named in public."""
