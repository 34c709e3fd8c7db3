"""What a platform is: a product's processors, their banks, and what they log for each kind of error. Shapes only.

The products stand in ``intel_platforms`` and ``amd_platforms``, all of them in ``platforms``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ringfence.arch import mcg
from ringfence.arch.bitfield import Field
from ringfence.arch.cpuid import Signature, Vendor, eax
from ringfence.arch.mci_status import ADDRV, MISCV, SYNDV
from ringfence.hypervisor.model.banks import Detected, Rules, Scheme
from ringfence.hypervisor.model.memory_map import DramPlace
from ringfence.quick import quick
from ringfence.world.identities import PhysAddr


class Meant(StrEnum):
    """The class of error that a template is meant to be read as (the words of SDM vol. 3B 17.6.3, APM vol. 2 9.3.2)."""

    CORRECTED = "CORRECTED"
    DEFERRED = "DEFERRED"
    UCNA = "UCNA"
    SRAO = "SRAO"
    SRAR = "SRAR"
    FATAL = "FATAL"


class Kind(StrEnum):
    """The kinds of errors that units of the model detect. A platform that lacks a template for one cannot log it."""

    READ_CORRECTED = "corrected error of memory in a read"
    SCRUB_CORRECTED = "corrected error of memory found by the patrol scrubber"
    READ_UNCORRECTED = "uncorrected error of memory in a read"
    SCRUB_UNCORRECTED = "uncorrected error of memory found by the patrol scrubber"
    DATA_LOAD = "poison consumed by a data load"
    INSTRUCTION_FETCH = "poison consumed by an instruction fetch"
    UNLOCATED = "uncorrected error of memory without an address"
    CACHE_CORRECTED = "corrected error of the last-level cache"
    CACHE_WRITEBACK = "bad line written back by the last-level cache"
    CACHE_UNCORRECTED = "uncorrected error of the last-level cache's tags"
    LINK_CORRECTED = "corrected error of a link between sockets"
    LINK_UNCORRECTED = "uncorrected error of a link between sockets"
    CONTEXT_CORRUPT = "the core's context is corrupt"


class Scope(StrEnum):
    """Who has a bank of its own, and who reaches it."""

    THREAD = "thread"
    CORE = "core, reached by its threads"
    SOCKET = "socket, reached by all its CPUs"
    NODE_BASE = "socket, reached by its first CPU alone"


@dataclass(frozen=True, slots=True)
class BankSpec:
    """A bank of a product."""

    scope: Scope
    rules: Rules


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a unit knows of an error. ``normalised``: the address within the channel's own memory."""

    addr: PhysAddr | None = None
    place: DramPlace | None = None
    normalised: int = 0
    device: int = 0
    syndrome: int = 0


Encoder = Callable[[Sighting], int]
"""From what the unit knows to a register's value (or to further bits of MCi_STATUS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What is logged for a kind of error.

    ``banks``: one bank number, or one for each memory channel of the socket. ``status``: MCi_STATUS but for what the
    encoders and the bank add; ADDRV, MISCV and SyndV come with ``addr``, ``misc`` and ``synd``. ``channel_modulus``:
    not 0 where the low bits of the error code are the channel within its controller, of so many.
    """

    banks: tuple[int, ...]
    status: int
    meant: Meant
    cite: str
    addr: Encoder | None = None
    misc: Encoder | None = None
    synd: Encoder | None = None
    further: Encoder | None = None
    channel_modulus: int = 0

    def bank(self, seen: Sighting) -> int:
        """The bank that logs it."""
        channel = 0 if seen.place is None else seen.place.channel
        return self.banks[channel % len(self.banks)]

    def detected(self, seen: Sighting) -> Detected:
        """The error as handed to the bank. Without a known address none is logged."""
        status = self.status
        if self.further is not None:
            status |= self.further(seen)
        if self.channel_modulus and seen.place is not None:
            status |= seen.place.channel % self.channel_modulus
        addr = None if self.addr is None or seen.addr is None else self.addr(seen)
        misc = None if self.misc is None else self.misc(seen)
        synd = None if self.synd is None else self.synd(seen)
        for field, value in ((ADDRV, addr), (MISCV, misc), (SYNDV, synd)):
            status |= field.mask if value is not None else 0
        return Detected(status=status, addr=addr or 0, misc=misc or 0, synd=synd or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One product. ``succor`` and ``overflow_recovery`` are AMD's CPUID Fn8000_0007_EBX[1] and [0].

    ``eipv_on_fetch``: False where MCG_STATUS.EIPV stays clear for an instruction fetch (AMD family 17h to 1Ah).
    ``patrol_by_cmci`` and ``patrol_as_corrected`` replace SCRUB_UNCORRECTED under those settings of the scrubber.
    """

    name: str
    signature: Signature
    vendor_string: str
    brand: str
    scheme: Scheme
    mcg_cap: int
    banks: Mapping[int, BankSpec]
    templates: Mapping[Kind, Template]
    channels: int
    succor: bool = False
    overflow_recovery: bool = False
    eipv_on_fetch: bool = True
    patrol_by_cmci: Template | None = None
    patrol_as_corrected: Template | None = None

    @property
    def vendor(self) -> Vendor:
        """The maker."""
        return self.signature.vendor

    @property
    def cpuid(self) -> int:
        """CPUID.1:EAX."""
        return eax(self.signature)

    @property
    def ser_p(self) -> bool:
        """Whether it has software error recovery (MCG_CAP.SER_P)."""
        return self.scheme is Scheme.INTEL and bool(mcg.SER_P.of(self.mcg_cap))

    @property
    def broadcasts(self) -> bool:
        """Whether #MC goes to all CPUs (Intel, but for LMCE) or to the one concerned (AMD)."""
        return self.scheme is Scheme.INTEL

    @property
    def poisons(self) -> bool:
        """Whether uncorrected data is marked and contained until it is consumed."""
        return Kind.DATA_LOAD in self.templates


def bits(*fields: Field) -> int:
    """A register value with these one-bit fields set."""
    value = 0
    for field in fields:
        value |= field.mask
    return value


def physical(seen: Sighting) -> int:
    """MCi_ADDR as the physical address of the line."""
    return seen.addr or 0
