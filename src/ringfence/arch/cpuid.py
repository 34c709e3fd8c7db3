"""CPUID signatures: vendor, family, model, stepping, and the microarchitecture's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from ringfence.arch import models


class Vendor(StrEnum):
    """Makers of x86 processors with a machine-check architecture that Ringfence reads."""

    INTEL = "Intel"
    AMD = "AMD"
    HYGON = "Hygon"
    ZHAOXIN = "Zhaoxin"
    CENTAUR = "Centaur"


@dataclass(frozen=True, slots=True)
class Signature:
    """CPUID.1:EAX taken apart: display family and display model, stepping."""

    vendor: Vendor
    family: int
    model: int
    stepping: int


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor as its signature names it. ``microarchitecture`` is None where no table knows the model."""

    signature: Signature
    microarchitecture: str | None


VENDOR_STRINGS: Mapping[str, Vendor] = {
    "GenuineIntel": Vendor.INTEL,
    "AuthenticAMD": Vendor.AMD,
    "HygonGenuine": Vendor.HYGON,
    "  Shanghai  ": Vendor.ZHAOXIN,
    "CentaurHauls": Vendor.CENTAUR,
}
"""CPUID.0:EBX,EDX,ECX as text to the vendor (Linux arch/x86/kernel/cpu/{intel,amd,hygon,zhaoxin,centaur}.c)."""

LINUX_VENDORS: Mapping[int, Vendor] = {
    0: Vendor.INTEL,
    2: Vendor.AMD,
    5: Vendor.CENTAUR,
    9: Vendor.HYGON,
    10: Vendor.ZHAOXIN,
}
"""Linux's X86_VENDOR_* numbers, as in ``struct mce.cpuvendor`` and "PROCESSOR 2:800f12" (asm/processor.h)."""

_LINUX_NUMBERS: Mapping[Vendor, int] = {vendor: number for number, vendor in LINUX_VENDORS.items()}

_MODELS: Mapping[Vendor, tuple[models.Models, ...]] = {
    Vendor.INTEL: models.INTEL,
    Vendor.AMD: models.AMD,
    Vendor.HYGON: models.HYGON,
    Vendor.ZHAOXIN: models.ZHAOXIN,
    Vendor.CENTAUR: models.CENTAUR,
}

_BASE_FAMILY_LIMIT = 0xF
_EXTENDED_MODEL_FROM_FAMILY = 6
SMCA_FROM_FAMILY = 0x17
"""AMD's first family with Scalable MCA (CPUID Fn8000_0007_EBX[3]); every later one has it."""


def vendor_of(cpuid_string: str) -> Vendor | None:
    """The vendor that a CPUID vendor string names, None if it is another's. Blanks at the ends may be missing."""
    bare = cpuid_string.strip()
    for text, vendor in VENDOR_STRINGS.items():
        if text.strip() == bare:
            return vendor
    return None


def linux_vendor(number: int) -> Vendor | None:
    """The vendor that Linux numbers so (X86_VENDOR_*), None if Ringfence reads no machine checks of that vendor."""
    return LINUX_VENDORS.get(number)


def linux_vendor_number(vendor: Vendor) -> int:
    """Linux's X86_VENDOR_* number of a vendor."""
    return _LINUX_NUMBERS[vendor]


def signature(vendor: Vendor, eax: int) -> Signature:
    """Takes CPUID.1:EAX apart (processor type and reserved bits are not kept).

    The extended model counts from base family 6 on, for every vendor: SDM vol. 2A (CPUID) says so for 6 and 0Fh, AMD's
    extended model is zero below 0Fh, and Zhaoxin's family 7 uses it (Linux arch/x86/lib/cpu.c, x86_model).
    """
    base_family = (eax >> 8) & 0xF
    family = base_family + ((eax >> 20) & 0xFF) if base_family == _BASE_FAMILY_LIMIT else base_family
    model = (eax >> 4) & 0xF
    if base_family >= _EXTENDED_MODEL_FROM_FAMILY:
        model |= ((eax >> 16) & 0xF) << 4
    return Signature(vendor, family, model, eax & 0xF)


def eax(signature: Signature) -> int:
    """CPUID.1:EAX for a signature. Raises ValueError if a number does not fit the register."""
    family, model, stepping = signature.family, signature.model, signature.stepping
    model_limit = 0xFF if family >= _EXTENDED_MODEL_FROM_FAMILY else 0xF
    if not (0 <= family <= 0xF + 0xFF and 0 <= model <= model_limit and 0 <= stepping <= 0xF):
        raise ValueError(f"no CPUID.1:EAX for family {family:#x} model {model:#x} stepping {stepping:#x}")
    base_family = min(family, _BASE_FAMILY_LIMIT)
    return (family - base_family) << 20 | (model >> 4) << 16 | base_family << 8 | (model & 0xF) << 4 | stepping


def parse_family_model_stepping(vendor: Vendor, text: str) -> Signature:
    """Reads ``17:71:0`` (hexadecimal family:model:stepping, as Linux prints "CPU:0 (17:71:0)").

    Raises ValueError if the text is not of this form or a number does not fit CPUID.1:EAX.
    """
    parts = text.split(":")
    if len(parts) != 3 or not all(part and set(part.lower()) <= set("0123456789abcdef") for part in parts):
        raise ValueError(f"not family:model:stepping in hexadecimal: {text!r}")
    family, model, stepping = (int(part, 16) for part in parts)
    result = Signature(vendor, family, model, stepping)
    eax(result)
    return result


def microarchitecture(signature: Signature) -> str | None:
    """The name of a processor's microarchitecture or product, None where no table knows the model (see ``models``)."""
    key = (signature.family, signature.model, signature.stepping)
    for row in _MODELS[signature.vendor]:
        if key in row:
            return row.name
    return None


@lru_cache(maxsize=1024)
def processor(vendor: Vendor, eax: int) -> Processor:
    """The processor with this vendor and CPUID.1:EAX."""
    found = signature(vendor, eax)
    return Processor(found, microarchitecture(found))


def is_smca(signature: Signature) -> bool:
    """Whether the processor has Scalable MCA: AMD from family 17h on, and every Hygon."""
    match signature.vendor:
        case Vendor.HYGON:
            return True
        case Vendor.AMD:
            return signature.family >= SMCA_FROM_FAMILY
        case Vendor.INTEL | Vendor.ZHAOXIN | Vendor.CENTAUR:
            return False
