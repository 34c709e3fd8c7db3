"""AMD's error thresholding counter, MCA_MISC0 (before SMCA: MC4_MISC0 and its companions)."""

from __future__ import annotations

from ringfence.arch import mci_misc
from ringfence.decode.meaning import Placed

_INTERRUPTS = ("no interrupt", "an APIC interrupt", "an SMI", "a reserved interrupt type")


COUNT = Placed("threshold_count", "misc", ((mci_misc.ERROR_COUNT.high, mci_misc.ERROR_COUNT.low, 0),))
"""The counter's state. It is no count of this record's errors: software presets it (``counter_details``)."""


def has_counter(misc: int | None) -> bool:
    """Whether MISC holds a threshold counter."""
    return misc is not None and bool(mci_misc.MISC_VALID.of(misc) and mci_misc.COUNTER_PRESENT.of(misc))


def counter_details(misc: int) -> tuple[str, ...]:
    """What a threshold counter holds, in phrases; empty if MISC holds none (Valid or CntP clear).

    The count is no count of this record's errors: software presets the counter (Linux to FFFh less the threshold,
    which is 0 by default), the hardware adds to it, and it stops when it overflows (APM vol. 2 9.3.3).
    """
    if not has_counter(misc):
        return ()
    phrases = []
    if mci_misc.COUNTER_OVERFLOW.of(misc):
        phrases.append("the threshold counter has overflowed: further errors are not counted")
    if mci_misc.LOCKED.of(misc):
        phrases.append("the threshold counter is locked: firmware owns it, the operating system cannot set it")
    interrupt = _INTERRUPTS[mci_misc.INT_TYPE.of(misc)]
    if not mci_misc.COUNTER_ENABLE.of(misc):
        phrases.append("the threshold counter is switched off")
    elif interrupt != _INTERRUPTS[0]:
        phrases.append(f"the threshold counter raises {interrupt} on overflow")
    return tuple(phrases)
