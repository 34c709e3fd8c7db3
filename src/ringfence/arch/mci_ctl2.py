"""MCi_CTL2: the corrected-error interrupt (CMCI) of one bank; Intel and Zhaoxin."""

from __future__ import annotations

from ringfence.arch.bitfield import Field, Register

_SDM = "SDM vol. 3B 17.3.2.5"

CMCI_EN = Field("CMCI_EN", 30, 30, "corrected errors of this bank raise CMCI", _SDM)
THRESHOLD = Field("THRESHOLD", 14, 0, "corrected-error count at which CMCI is raised", _SDM)

INTEL = Register("MCi_CTL2", (CMCI_EN, THRESHOLD), _SDM)
"""MSR 280h + i, present with MCG_CAP.CMCI_P. Model-specific bits (32 and 34 select SMI on some parts) are not named."""
