"""The Protected Processor Inventory Number, which names a processor package for ever."""

from __future__ import annotations

from ringfence.arch.bitfield import Field, Register

_SDM = "SDM vol. 4 table 2-20, MSR_PPIN_CTL and MSR_PPIN"

PPIN_LOCKOUT = Field("LockOut", 0, 0, "writes to PPIN_CTL are ignored until reset", _SDM)
PPIN_ENABLE = Field("Enable_PPIN", 1, 1, "PPIN can be read", _SDM)

PPIN_CTL = Register("PPIN_CTL", (PPIN_ENABLE, PPIN_LOCKOUT), _SDM)
"""Intel MSR 4Eh, AMD MSR C001_02F0h (same bits: Linux arch/x86/kernel/cpu/common.c, ppin_init)."""

PPIN = Register("PPIN", (Field("PPIN", 63, 0, "the inventory number: opaque, no part has a meaning", _SDM),), _SDM)
"""Intel MSR 4Fh, AMD MSR C001_02F1h."""
