"""CPUID signatures: vendor, family, model, stepping, and the microarchitecture's name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
