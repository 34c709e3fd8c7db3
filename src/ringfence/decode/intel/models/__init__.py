"""Which tables read the banks of which Intel model.

"SDM vol. 3B chapter 18" in these modules is "Interpreting Machine-Check Error Codes" (chapter 16, once appendix E, in
older editions), whose sections are by CPUID signature. mcelog masks a field to the length of its table, so that other
values fall on names which are not theirs; here a field is compared whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.arch.cpuid import Processor, Vendor
from ringfence.decode.intel.bank import Banks, Reader
from ringfence.decode.intel.models import (
    diamond_rapids,
    front_side_bus,
    granite_rapids,
    icelake,
    nehalem,
    sandy_bridge,
    sapphire_rapids,
    skylake,
)
from ringfence.decode.intel.models.core_banks import CORE, cache_level


@dataclass(frozen=True, slots=True)
class Model:
    """The banks of a model, and readers for errors of any bank (``anywhere``)."""

    banks: Banks = field(default_factory=dict)
    anywhere: tuple[Reader, ...] = ()


UNKNOWN = Model()


def _big_core(banks: Banks) -> Model:
    return Model(banks, (cache_level,))


# The other banks of a client processor are not described in public; the levels of their codes are as on servers.
_BIG_CORE_CLIENT = _big_core(CORE)

_FAMILY_6: dict[int, Model] = {
    **dict.fromkeys(range(0x0F), Model(anywhere=(front_side_bus.P6,))),
    **dict.fromkeys((0x0F, 0x16, 0x17), Model(anywhere=(front_side_bus.CORE2,))),
    0x1D: Model(front_side_bus.DUNNINGTON, (front_side_bus.DUNNINGTON_CORE,)),
    **dict.fromkeys((0x1A, 0x1E, 0x1F, 0x25, 0x2C), Model(nehalem.NEHALEM)),
    **dict.fromkeys((0x2E, 0x2F), Model(nehalem.NEHALEM_EX, (nehalem.internal,))),
    0x2A: _big_core(sandy_bridge.SANDY_BRIDGE),
    0x2D: _big_core(sandy_bridge.SANDY_BRIDGE_EP),
    0x3E: _big_core(sandy_bridge.IVY_BRIDGE_EP),
    0x3F: _big_core(sandy_bridge.HASWELL_EP),
    0x4F: _big_core(sandy_bridge.BROADWELL_EP),
    0x56: _big_core(sandy_bridge.BROADWELL_DE),
    **dict.fromkeys((0x57, 0x85), Model(sandy_bridge.KNIGHTS_LANDING)),
    0x5F: Model(sandy_bridge.DENVERTON),
    0x55: _big_core(skylake.SKYLAKE_SP),
    0x6A: _big_core(icelake.ICE_LAKE_SP),
    0x6C: _big_core(icelake.ICE_LAKE_D),
    0x86: Model(icelake.TREMONT_D),
    **dict.fromkeys((0x8F, 0xCF), _big_core(sapphire_rapids.SAPPHIRE_RAPIDS)),
    **dict.fromkeys((0xAD, 0xAE), _big_core(granite_rapids.GRANITE_RAPIDS)),
    **dict.fromkeys((0xAF, 0xDD), Model(granite_rapids.SIERRA_FOREST)),
    # Client processors with big cores only, Ivy Bridge to Rocket Lake.
    **dict.fromkeys(
        (0x3A, 0x3C, 0x45, 0x46, 0x3D, 0x47, 0x4E, 0x5E, 0x8E, 0x9E, 0xA5, 0xA6, 0x66, 0x7D, 0x7E, 0x8C, 0x8D, 0xA7),
        _BIG_CORE_CLIENT,
    ),
}
_TULSA_MODEL = 6
_TULSA = Model(front_side_bus.TULSA)
_PENTIUM4 = Model(anywhere=(front_side_bus.PENTIUM4,))
_OTHERS: dict[tuple[int, int], Model] = {(19, 1): Model(diamond_rapids.DIAMOND_RAPIDS)}


def model_of(processor: Processor | None) -> Model:
    """The tables for a processor; ``UNKNOWN`` (no bank named) where there are none."""
    if processor is None or processor.signature.vendor is not Vendor.INTEL:
        return UNKNOWN
    family, model = processor.signature.family, processor.signature.model
    if family == 15:
        return _TULSA if model == _TULSA_MODEL else _PENTIUM4
    if family == 6:
        return _FAMILY_6.get(model, UNKNOWN)
    return _OTHERS.get((family, model), UNKNOWN)
