"""MCi_MISC: on Intel what the address means, on AMD (MCA_MISC0) a threshold counter."""

from __future__ import annotations

from enum import IntEnum

from ringfence.arch.bitfield import Field, Register

_SDM = "SDM vol. 3B 17.3.2.4"
_APM = "APM vol. 2 9.3.2"

ADDRESS_LSB = Field("ADDRESS_LSB", 5, 0, "least significant valid bit of MCi_ADDR", _SDM)
ADDRESS_MODE = Field("ADDRESS_MODE", 8, 6, "what kind of address MCi_ADDR holds", _SDM)
INTEL_MODEL_SPECIFIC = Field("MODEL_SPECIFIC", 63, 9, "model-specific", _SDM)

INTEL = Register("MCi_MISC", (INTEL_MODEL_SPECIFIC, ADDRESS_MODE, ADDRESS_LSB), _SDM)
"""Intel and Zhaoxin, where MCG_CAP.SER_P and MCi_STATUS.MISCV are set; without SER_P all of it is model-specific.

For I/O errors (MCACOD 0E0Bh) bits 31:16 hold the requester id and bits 39:32 its segment (SDM vol. 3B 17.3.2.4).
"""

IO_REQUESTER_ID = Field("IO_REQUESTER_ID", 31, 16, "PCI Express requester id: bus 15:8, device 7:3, function 2:0", _SDM)
IO_SEGMENT = Field("IO_SEGMENT", 39, 32, "PCI Express segment number", _SDM)

INTEL_IO = Register(
    "MCi_MISC",
    (IO_SEGMENT, IO_REQUESTER_ID, ADDRESS_MODE, ADDRESS_LSB),
    _SDM,
)
"""Intel, for a PCI Express error logged with MCACOD 0E0Bh."""


class AddressMode(IntEnum):
    """``ADDRESS_MODE``: what kind of address MCi_ADDR holds (SDM vol. 3B table 17-3). 4 to 6 are reserved."""

    SEGMENT_OFFSET = 0
    LINEAR = 1
    PHYSICAL = 2
    MEMORY = 3
    GENERIC = 7


MISC_VALID = Field("Valid", 63, 63, "CntP is valid", _APM)
COUNTER_PRESENT = Field("CntP", 62, 62, "a threshold counter is present", _APM)
LOCKED = Field("Locked", 61, 61, "firmware owns this register: writes are ignored", _APM)
INT_PRESENT = Field("IntP", 60, 60, "the threshold interrupt can be generated", "PPR 55898 (family 19h), MCA_MISC0")
LVT_OFFSET = Field("LvtOffset", 55, 52, "APIC extended LVT entry of the threshold interrupt", _APM)
COUNTER_ENABLE = Field("CntEn", 51, 51, "the counter counts", _APM)
INT_TYPE = Field("ThresholdIntType", 50, 49, "0 none, 1 APIC (through LvtOffset), 2 SMI", _APM)
COUNTER_OVERFLOW = Field("Ovrflw", 48, 48, "the counter has reached FFFh", _APM)
ERROR_COUNT = Field("ErrCnt", 43, 32, "error count; software presets it to FFFh less the threshold", _APM)
BLOCK_POINTER = Field("BlkPtr", 31, 24, "non-zero: further MCA_MISC registers exist", _APM)

AMD_MISC0 = Register(
    "MCA_MISC0",
    (
        MISC_VALID,
        COUNTER_PRESENT,
        LOCKED,
        INT_PRESENT,
        LVT_OFFSET,
        COUNTER_ENABLE,
        INT_TYPE,
        COUNTER_OVERFLOW,
        ERROR_COUNT,
        BLOCK_POINTER,
    ),
    _APM,
)
"""AMD and Hygon: never an address mode, whatever MISCV says. Before SMCA only the northbridge's bank 4 counts."""
