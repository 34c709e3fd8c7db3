"""What a processor's MCG_CAP announces, or, where the evidence lacks it, what has to be assumed.

MCi_STATUS[56:53], [52:38], [37] and MCi_MISC[8:0] have their architectural meaning only if MCG_CAP says so (SDM
vol. 3B 17.3.1.1 and 17.3.2). Kernel logs older than mcelog's MCGCAP line, Xen's and most BMC texts lack it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ringfence.arch import mcg
from ringfence.arch.cpuid import Processor, Vendor
from ringfence.arch.intel_recovery import intel_ser_p


class Known(Enum):
    """How sure a capability is."""

    YES = "MCG_CAP says so"
    NO = "MCG_CAP or the model excludes it"
    ASSUMED = "assumed"

    def __bool__(self) -> bool:
        return self is not Known.NO


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capabilities on which the reading of a bank depends."""

    cmci_p: Known
    tes_p: Known
    ser_p: Known
    emc_p: Known


# Models numbered from 1AH on that are as old as Core 2 in their machine-check architecture: the small cores of the
# first generation (Bonnell, Saltwell), and Dunnington.
_OLDER_THAN_NUMBERED = frozenset({0x1C, 0x1D, 0x26, 0x27, 0x35, 0x36})

_FIRST_WITH_CMCI = 0x1A


def capabilities(mcg_cap: int | None, processor: Processor | None) -> Capabilities:
    """The capabilities from MCG_CAP, else from the model, else assumed."""
    if mcg_cap is not None:
        return Capabilities(
            *(Known.YES if field.of(mcg_cap) else Known.NO for field in (mcg.CMCI_P, mcg.TES_P, mcg.SER_P, mcg.EMC_P))
        )
    counts, recovers = _by_model(processor)
    return Capabilities(
        cmci_p=Known.ASSUMED if counts else Known.NO,
        tes_p=Known.ASSUMED if counts else Known.NO,
        ser_p=Known.ASSUMED if recovers else Known.NO,
        emc_p=Known.ASSUMED if recovers else Known.NO,
    )


def _by_model(processor: Processor | None) -> tuple[bool, bool]:
    """Whether the model may count corrected errors, and whether MISC may describe the address.

    Where the model is not known, no corrected errors are counted. Where no table knows whether it has SER_P, MISC
    may describe the address: client processors from Ivy Bridge on fill it as servers
    do (mode 2 and a plausible LSB in every public log known to us).
    """
    if processor is None:
        # Anything from a K7 to a server may be behind it: a count read out of such a status would be invented.
        return False, True
    if processor.signature.vendor is not Vendor.INTEL:
        return True, True
    family, model = processor.signature.family, processor.signature.model
    if family < 6 or family == 15 or (family == 6 and (model < _FIRST_WITH_CMCI or model in _OLDER_THAN_NUMBERED)):
        return False, False
    row = intel_ser_p(family, model)
    return True, row is None or row.present
