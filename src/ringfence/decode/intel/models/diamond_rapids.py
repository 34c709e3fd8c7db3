"""Diamond Rapids (family 19, model 1).

Source: mcelog (diamond.c) and rasdaemon (mce-intel-diamond.c), both by Intel. There are two IMHs; which one a bank of
11 or 19 to 26 belongs to is bit 2 of the APIC id, which is no part of the registers: it is said, not decoded.
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
    code_names,
    declare,
    for_interconnect,
    misc_bits,
    only_for,
)
from ringfence.decode.meaning import Placed, located

_SCAN_AT_FIELD = 0x040B

_CBB_PUNIT = choice(
    {
        0x0001: "machine check while CR4.MCE was clear (CR4_MCE_CLEAR)",
        0x0002: "machine check while MCG_STATUS.MCIP was set (MCE_MCIP_SET)",
        0x0003: "machine check under WPS (MCE_UNDER_WFS)",  # mcelog's words (diamond.c); nobody spells them out
        0x0004: "unrecoverable error in a security flow (MCE_LT_HANDSHAKE)",
        0x0005: "shutdown after a triple fault (TRIPLE_FAULT)",
        0x0006: "VMX exit consistency checks failed (VMX_ABORT)",
        0x0007: "RSM consistency checks failed (RSM_CONSISTENCY_FAIL)",
        0x0008: "invalid conditions on protected-mode SMM entry (SMM_PROTECTED_ENTRY_FAIL)",
        0x0009: "unrecoverable error in a security flow (UCODE_PATCH_LOAD_FAIL)",
        0x0816: "MCA_DVFS_COUNTER_EXPIRED",
        0x0823: "MCA_UNSUPP_RESP",
        0x0825: "MCA_FUSA_MBIST",
        0x0826: "MCA_SA_PLL_LOCKED",
        0x0827: "MCA_XTAL_FREQ_MON_ERROR",
        0x0828: "MCA_PMSB_FUSE_PULLER_ERROR",
        0x0829: "MCA_GPSB_FUSE_PULLER_ERROR",
        0x0830: "MCA_PCODE_WATCHDOG",
        0x0831: "MCA_BGR_FUSA_ERR",
        0x0832: "MCA_CORE_FIVR_ERR",
        0x0833: "MCA_D2D_FIVR_ERR",
        0x0834: "MCA_MLC_FIVR_ERR",
        0x0835: "MCA_RING_FIVR_ERR",
        0x0836: "MCA_D2D_MONF_PLL_FUSA_0",
        0x0837: "MCA_D2D_MONF_PLL_FUSA_1",
        0x0838: "MCA_TOP0_FUSA_PLL_ERR",
        0x0839: "MCA_BASE_FUSA_PLL_ERR",
        0x0840: "MCA_UCIE_RESET_BUS_STOP_ON_ERROR",
        0x0841: "MCA_RSRC_ADAPT_0_ERR",
        0x0842: "MCA_RSC_ADAPT_1_ERR",
        0x0845: "MCA_TOP1_FUSA_PLL_ERR",
        0x0846: "MCA_TOP2_FUSA_PLL_ERR",
        0x0847: "MCA_TOP3_FUSA_PLL_ERR",
        0x0848: "UC_PATCH_LOAD_ACK_ERROR",
        0x0C01: "MCA_UC_IRAM_DOUBLE_ERROR",
        0x0C02: "MCA_UC_DOUBLE_EXCEPTION_ERROR",
        0x0C03: "MCA_UC_TELEM_SRAM_ERROR",
        0x0C04: "MCA_UC_DRAM_DOUBLE_ERROR",
        0x0C05: "MCA_UC_TPMI_SRAM_ERROR",
        0x1401: "MCA_FIVR_HI_YELLOW",
        0x1402: "MCA_FIVR_HI_RED",
    }
)

_IMH_FIRMWARE = {
    0x09: "MCA_TSC_DOWNLOAD_TIMEOUT",
    0x0A: "MCA_INVALID_XTALFREQ_RANGE",
    0x0B: "MCA_GPSB_TIMEOUT",
    0x0C: "MCA_PMSB_TIMEOUT",
    0x0D: "MCA_CFG_ACK_TIMEOUT",
    0x23: "MCA_PCU_SVID_ERROR",
    0x35: "MCA_SVID_LOADLINE_INVALID",
    0x36: "MCA_SVID_ICCMAX_INVALID",
    0x4A: "MCA_FIVR_PD_HARDERR",
    0x4C: "MCA_HPM_DOUBLE_BIT_ERROR_DETECTED",
    0x58: "MCA_INVALID_MEMORY_FREQUENCY",
    0x63: "MCA_SVID_VCCIN_PROTOCOL_ERROR",
    0x6A: "MCA_SPPR_TIMEOUT",
    0x6F: "MCA_INVALID_SID_ERROR",
    0x70: "MCA_INVALID_REMOTE_LEGACY_AGENT_ERROR",
    0x71: "MCA_INVALID_REMOTE_LT_AGENT_ERROR",
    0x7B: "MCA_THERMAL_SENSOR_INVALID",
    0x7C: "MCA_CXL_DEVICE_NO_CREDIT",
    0x7E: "MCA_RECOVERABLE_DIE_THERMAL_TOO_HOT",
    0x83: "MCA_PKGS_RECOVERABLE_RESET_PREP_ACK_TIMEOUT",
}
_IMH_HARDWARE = {
    **dict.fromkeys((0x02, 0x03), "microcontroller double-bit ECC error"),
    **dict.fromkeys((0x08, 0x09), "microcontroller error"),
    0x0A: "microcontroller patch load error",
    0x0B: "microcontroller POReqValid error",
    0x0C: "microcontroller RAM address error",
    0x0D: "microcontroller RAM access error",
    0x10: "Pcode watchdog expired, or double-bit ECC error in telemetry SRAM (MISC tells which)",
    0x20: "error signalled by a power management agent",
    0x30: "microcontroller error",
    0xA0: "double-bit ECC error in HPM SRAM",
    0xB0: "double-bit ECC error in TPMI SRAM",
}
_IMH_PUNIT = (
    choice(_IMH_FIRMWARE, high=31, low=24),
    only_for(lambda logged: logged.bits(31, 24) == 0, choice(_IMH_HARDWARE, high=23, low=16), looks=MSCOD_ONLY),
)

_UPI = choice(
    {
        **dict.fromkeys((0x00, 0x01, 0x02, 0x05), "internal parity error"),
        **dict.fromkeys((0x08, 0x11, 0x12), "internal queue overflow"),
        0x09: "link layer buffer overflow",
        **dict.fromkeys((0x0A, 0x13, 0x14), "internal queue underflow"),
        0x0B: "link layer buffer underflow",
        0x0C: "link layer or internal credit overflow",
        **dict.fromkeys((0x21, 0x28, 0x31), "internal interface error"),
        0x23: "invalid message",
        0x24: "UPI protocol error",
        0x25: "UPI interleave error",
        0x29: "link integrity or initialisation error",
        **dict.fromkeys(range(0x2A, 0x2E), "power management transition timed out"),
        0x30: "poison received while poison is disabled",
        0x0200: "link integrity or initialisation error",
        0x0203: "link degraded",
        **dict.fromkeys(range(0x0204, 0x0208), "power management transition timed out"),
    }
)

_MCCHAN = choice(
    {
        0x0001: "CMI request address parity error (APPP)",
        0x0002: "CMI write data parity error",
        0x0004: "CMI write byte enable parity error",
        0x0008: "transient or correctable error on a patrol read",
        0x0010: "uncorrected patrol scrub error",
        0x0020: "correctable error on a spare read",
        0x0040: "uncorrected spare error",
        0x0080: "transient or correctable error on a demand or underfill read",
        0x00A0: "uncorrectable error on a demand or underfill read",
        0x00B0: "poisoned data was read while poison is disabled",
        0x00C0: "two-level memory metadata error on a read",
        0x0102: "ECC error on a read of the write data buffer",
        0x0104: "byte enable parity error on a read of the write data buffer",
        0x0106: "persistent ECC error in the write data buffer",
        0x0108: "DDR link failure",
        0x0109: "illegal incoming opcode",
        0x0200: "DDR command/address parity or write CRC error",
        0x0240: "decoder structure error",
        0x0400: "internal address parity error",
        0x0813: "CMI credit oversubscription error",
        0x0814: "CMI total credit count error",
        0x0815: "CMI reserved credit pool error",
        0x0832: "memory controller internal error",
        0x0834: "tracker RDCMP register file parity error",
        0x0836: "tracker WRCMP register file parity error",
    }
)

_ECC_MODES = {
    1: "SDDC 128b, one-level memory",
    2: "SDDC 125b, one-level memory",
    3: "SDDC 125b, two-level memory",
    4: "ADDDC 80b, one-level memory",
    5: "ADDDC 80b, two-level memory",
    9: "5x8 128b, one-level memory",
    10: "5x8 125b, one-level memory",
    11: "5x8 125b, two-level memory",
}
_MISC_HAS_LOCATION = 1 << 1
_FIRST_PROPRIETARY_MSCOD = 0x0800


_PLACES = (
    Placed("bank_group", "misc", ((41, 39, 0),)),
    Placed("bank", "misc", ((38, 37, 0),)),
    Placed("row", "misc", ((36, 19, 0),)),
    Placed("column", "misc", ((18, 9, 2),)),
    Placed("rank", "misc", ((56, 55, 0),)),
)
_DEVICE = Placed("device", "misc", ((48, 44, 0),))


@declare(
    MSCOD_ONLY
    | Reads(
        status=OTHER_INFORMATION.mask,
        misc=0x7FFF << 49 | 1 << 42,
        misc_place=1 << 63 | 1 << 42,
        place=(lambda mscod: mscod >= _FIRST_PROPRIETARY_MSCOD,),
    )
)
def _dram_location(logged: Logged) -> Specific:
    """MCi_MISC[63:9], if MCi_STATUS[33] says that it is there; from MSCOD 0800h on it is proprietary."""
    if logged.misc is None or not OTHER_INFORMATION.of(logged.status) & _MISC_HAS_LOCATION:
        return NOTHING
    if logged.mscod >= _FIRST_PROPRIETARY_MSCOD:
        return NOTHING
    misc = logged.misc
    if not misc & DRAM_LOCATION:
        return NO_DRAM_LOCATION
    transient = bool(misc_bits(misc, 63, 63))
    placed = _PLACES if transient or not misc_bits(misc, 42, 42) else (*_PLACES, _DEVICE)
    details = [f"subchannel {misc_bits(misc, 49, 49)}", f"subrank {misc_bits(misc, 54, 51)}"]
    if transient:
        details.append("transient: the retried read was good")
    else:
        mode = misc_bits(misc, 61, 58)
        details.append(f"ECC mode {_ECC_MODES.get(mode, f'{mode} (invalid)')}")
    return Specific(
        details=tuple(details),
        location=located(NOWHERE, placed, misc),
        placed=placed,
    )


@declare(Reads())
def _which_imh(_: Logged) -> Specific:
    return Specific(details=("which of the two IMHs: bit 2 of the APIC id",))


DIAMOND_RAPIDS: Banks = {
    4: Bank(
        "CBB power management unit (Punit)",
        (
            code_names({_SCAN_AT_FIELD: "Scan-at-field error"}),
            only_for(
                lambda logged: logged.code.base != _SCAN_AT_FIELD,
                _CBB_PUNIT,
                looks=Reads(code=(lambda code: code.base == _SCAN_AT_FIELD,)),
            ),
        ),
    ),
    11: Bank("IMH power management unit (Punit)", (*_IMH_PUNIT, _which_imh)),
    18: Bank("Intel UPI", (for_interconnect(_UPI),)),
    **{
        bank: Bank(
            f"Memory controller (MCCHAN), channel {bank - 19} of its IMH",
            (_MCCHAN, _dram_location, _which_imh),
            None,
            bank - 19,
        )
        for bank in range(19, 27)
    },
}
"""Family 19, model 1."""
