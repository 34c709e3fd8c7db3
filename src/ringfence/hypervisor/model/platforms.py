"""The platforms that a model machine can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringfence.hypervisor.model.amd_platforms import FAMILY_10H, MILAN, TURIN
from ringfence.hypervisor.model.intel_platforms import CASCADE_LAKE, ICE_LAKE, NEHALEM
from ringfence.hypervisor.model.templates import Kind, Meant, Platform

__all__ = [
    "CASCADE_LAKE",
    "FAMILY_10H",
    "ICE_LAKE",
    "MILAN",
    "NEHALEM",
    "PLATFORMS",
    "TURIN",
    "Kind",
    "Meant",
    "Platform",
]

PLATFORMS: Final[Mapping[str, Platform]] = {
    platform.name: platform for platform in (CASCADE_LAKE, ICE_LAKE, NEHALEM, MILAN, TURIN, FAMILY_10H)
}
"""By name."""
