"""Platforms: what the processors of one product are and log, as data. SKELETON: values are being filled in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ringfence.arch.cpuid import Signature, Vendor, eax


class Meant(StrEnum):
    """The class of error that a template is meant to be read as (the words of SDM vol. 3B 17.6.3, APM vol. 2 9.3.2)."""

    CORRECTED = "CORRECTED"
    DEFERRED = "DEFERRED"
    UCNA = "UCNA"
    SRAO = "SRAO"
    SRAR = "SRAR"
    FATAL = "FATAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One product. ``succor`` and ``overflow_recovery`` are AMD's CPUID Fn8000_0007_EBX[1] and [0]."""

    name: str
    signature: Signature
    vendor_string: str
    brand: str
    mcg_cap: int
    succor: bool = False
    overflow_recovery: bool = False

    @property
    def vendor(self) -> Vendor:
        """The maker."""
        return self.signature.vendor

    @property
    def cpuid(self) -> int:
        """CPUID.1:EAX."""
        return eax(self.signature)


CASCADE_LAKE = Platform(
    name="cascade-lake",
    signature=Signature(Vendor.INTEL, 6, 0x55, 7),
    vendor_string="GenuineIntel",
    brand="Intel Xeon (Cascade Lake)",
    mcg_cap=0xF000C14,
)
"""Intel with SER_P and LMCE."""
