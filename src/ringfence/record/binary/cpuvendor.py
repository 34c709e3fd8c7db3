"""The vendor number in ``struct mce``: Linux's X86_VENDOR_* values, and what Xen put there instead for some years.

Sources: Linux arch/x86/include/asm/processor.h; Xen xen/include/asm-x86/x86-vendors.h and commit a94c5fd829
("x86/MCE: restore CPU vendor reporting to the outside world").
"""

from __future__ import annotations

from typing import Final

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor, linux_vendor, linux_vendor_number, signature

UNKNOWN: Final = 0xFF
"""X86_VENDOR_UNKNOWN, of Linux and of Xen up to 4.11."""

# Xen 4.9 to 4.11 counted Intel 0, AMD 1, Centaur 2; 4.12 counted Intel 1, AMD 2, Centaur 3, Shanghai 4; 4.13 to 4.21
# used bits: Intel 1, AMD 2, Centaur 4, Shanghai 8, Hygon 16. Before and after, Linux's numbers. Listed here are only
# numbers that Linux gives to nobody with a machine-check architecture. 4 was Shanghai in 4.12 and Centaur later: the
# two share their design, and both go by Centaur's name here.
_XEN: Final = {3: Vendor.CENTAUR, 4: Vendor.CENTAUR, 8: Vendor.ZHAOXIN, 16: Vendor.HYGON}

PLAUSIBLE: Final = frozenset(LINUX_VENDORS) | frozenset(_XEN) | {1, UNKNOWN}
"""Every value that the field has had in a real record."""

_AMD_FAMILIES: Final = frozenset({0x10, 0x11, 0x14, 0x15, 0x16, 0x17, 0x19, 0x1A, 0x1B})


def identify(cpuvendor: int, cpuid: int | None) -> tuple[Vendor | None, str | None]:
    """The vendor that a record means, and what had to be assumed for it (None if the number is Linux's).

    Number 1 is Cyrix to Linux, which has no machine checks, AMD to Xen 4.9 to 4.11, and Intel to Xen 4.12 to 4.21: the
    family in ``cpuid`` (CPUID.1:EAX) decides, where only one of the two has it. Number 2 can also be Centaur as
    Xen 4.9 to 4.11 wrote it; it is read as AMD, because nothing tells them apart and AMD is by far the likelier.
    """
    if (known := linux_vendor(cpuvendor)) is not None:
        return known, None
    if cpuvendor in _XEN:
        vendor = _XEN[cpuvendor]
        return vendor, f"cpuvendor {cpuvendor} is read as {vendor} by the numbers of Xen 4.12 to 4.21"
    if cpuvendor == 1 and cpuid:
        family = signature(Vendor.INTEL, cpuid).family  # the family's place is the same for all vendors
        if family == 6:
            return Vendor.INTEL, "cpuvendor 1 is read as Intel (family 6): Xen 4.12 to 4.21 wrote it so"
        if family in _AMD_FAMILIES:
            return Vendor.AMD, f"cpuvendor 1 is read as AMD (family {family:#x}): Xen 4.9 to 4.11 wrote it so"
    return None, None


def number(vendor: Vendor | None) -> int:
    """Linux's number of a vendor, for writing."""
    return UNKNOWN if vendor is None else linux_vendor_number(vendor)
