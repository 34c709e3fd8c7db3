"""What happens to a host in a simulation: a closed union of acts, each at its time; as JSON Lines on the disk.

An act names guests by their names in the scenario and pages by numbers of the guest's own, so that it means the same
when other acts of its script are taken away. An act that cannot happen when its time comes (its guest is gone) does
not, and is counted as skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, get_args

import msgspec

DOM0_NAME: Final = "Domain-0"
"""How acts name the control domain."""


class Way(StrEnum):
    """How an error of memory comes about."""

    READ = "read"
    """A guest loads from a line that has just gone bad."""
    FETCHED = "fetched"
    """A guest fetches an instruction from it."""
    XEN_READ = "read by the hypervisor"
    FOUND = "found"
    """Uncorrectable, latent until the patrol scrubber, or a read, finds it."""
    WRITTEN_BACK = "written back"
    """A dirty line of the last-level cache goes bad and is written back as poison."""
    DMA = "read by a device"
    CORRECTED = "corrected"
    """One corrected error, in a read by a CPU."""
    STUCK = "stuck"
    """A stuck cell: one corrected error in each pass of the scrubber."""
    STORM = "storm"
    """A stuck cell that a CPU reads again and again."""
    CACHED = "corrected in the cache"
    """The last-level cache corrects an error of its own."""


class Place(StrEnum):
    """Whose page is hit."""

    GUEST = "guest"
    GRANTED = "granted"
    """A guest's page that another domain has mapped by grant."""
    SHARED = "shared"
    """Two HVM guests share it copy-on-write."""
    FOREIGN = "foreign"
    """A guest's page that a device model or Dom0 has mapped."""
    DEVICE = "device"
    """A guest's page that a device passed through reaches by DMA."""
    DEVICE_FIXED = "device for good"
    """The same, and the IOMMU mapping cannot be taken away."""
    DOM0 = "dom0"
    DOM0_VITAL = "dom0 vital"
    """A page that Dom0 cannot lose."""
    XEN = "xen"
    XEN_VITAL = "xen vital"
    """A page that the hypervisor cannot give up."""
    FREE = "free"
    BALLOONED = "ballooned"
    SAME_PAGE = "same page"
    """The page that the last error hit."""
    SAME_DOMAIN = "same domain"
    """Another page of the guest that the last error hit."""


class Unit(StrEnum):
    """An error of a unit of the machine, not of a page."""

    UNLOCATED = "unlocated"
    CONTEXT = "context corrupt"
    CACHE_TAGS = "cache tags"
    LINK_CORRECTED = "link corrected"
    LINK = "link"
    SPURIOUS = "spurious"
    STUCK_CPU = "stuck cpu"


class Wrong(StrEnum):
    """An instruction that must be refused (II.4)."""

    ANSWER_UNASKED = "an answer that nobody asked for"
    OPERATED_UNASKED = "the end of an operation that nobody waits for"
    NO_SUCH_DOMAIN = "pause a domain that does not exist"
    PAUSE_DOM0 = "pause Dom0"
    DESTROY_DOM0 = "destroy Dom0"
    OFFLINE_CPU0 = "take CPU 0 out of use"
    MIGRATE_NOWHERE = "migrate to a host that does not exist"
    RESTORE_WITHOUT = "restore a domain that has no checkpoint"
    VMCE_NOT_ENABLED = "inject a vMCE into a guest that did not enable MCA"
    TELL_NO_HANDLER = "tell a guest that has no handler"
    GUEST_CALLS = "a guest makes hypercall 48"


class _Act(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="act", omit_defaults=True):
    at_ms: int
    """Milliseconds since the host was switched on."""


class MemoryHit(_Act, frozen=True, kw_only=True):
    """An error of memory. ``other`` is who else maps the page, ``line`` which of its 64 lines is hit.

    ``device`` and ``bits`` make the syndrome of a correctable error; ``count`` and ``interval_ms`` are a storm's.
    """

    way: Way
    place: Place
    domain: str = ""
    page: int = 0
    other: str = ""
    line: int = 0
    cpu: int = 0
    device: int = 0
    bits: int = 1
    count: int = 1
    interval_ms: int = 0


class UnitHit(_Act, frozen=True, kw_only=True):
    """An error of a unit near a CPU."""

    unit: Unit
    cpu: int = 0
    socket: int = 0


class Kill(_Act, frozen=True, kw_only=True):
    """Ringfence is killed before or after the ``calls``-th call of its port or journal from now on, and started again.

    ``tidy``: its kernel takes the MCA handler away with it, so that the hypervisor knows.
    """

    calls: int
    dead_ms: int
    tidy: bool = False


class Busy(_Act, frozen=True, kw_only=True):
    """Ringfence gets no CPU for a while: it is silent, and what it says then comes late."""

    for_ms: int


class HandlerGone(_Act, frozen=True, kw_only=True):
    """Dom0's MCA handler is not there for a while."""

    for_ms: int


class Dom0Hurt(_Act, frozen=True, kw_only=True):
    """Dom0 is hurt, until a verified probe."""

    for_ms: int


class GuestCrashes(_Act, frozen=True, kw_only=True):
    """A guest crashes by itself."""

    domain: str


class GuestReads(_Act, frozen=True, kw_only=True):
    """A guest reads the page that was hit last, if it is one of its own."""


class Destroyed(_Act, frozen=True, kw_only=True):
    """An operator destroys a guest."""

    domain: str


class Migrated(_Act, frozen=True, kw_only=True):
    """An operator migrates a guest to the other host."""

    domain: str


class Paused(_Act, frozen=True, kw_only=True):
    """An operator pauses a guest for a while, and lets it run again."""

    domain: str
    for_ms: int


class Checkpointed(_Act, frozen=True, kw_only=True):
    """An operator's backup of a guest."""

    domain: str
    disks_of_same_moment: bool


class Ballooned(_Act, frozen=True, kw_only=True):
    """A guest gives a page up."""

    domain: str
    page: int


class SinkBroken(_Act, frozen=True, kw_only=True):
    """A sink of last words does not work for a while; ``sink`` is a name of ``observer.Sink``."""

    sink: str
    for_ms: int


class StepsFail(_Act, frozen=True, kw_only=True):
    """The next steps of a kind fail."""

    step: str
    times: int


class Approved(_Act, frozen=True, kw_only=True):
    """A person grants or denies all that waits for a word."""

    granted: bool


class Rebooted(_Act, frozen=True, kw_only=True):
    """An operator reboots the host."""

    cold: bool


class Instructed(_Act, frozen=True, kw_only=True):
    """Somebody instructs what must be refused."""

    wrong: Wrong
    domain: str = ""


Act = (
    MemoryHit
    | UnitHit
    | Kill
    | Busy
    | HandlerGone
    | Dom0Hurt
    | GuestCrashes
    | GuestReads
    | Destroyed
    | Migrated
    | Paused
    | Checkpointed
    | Ballooned
    | SinkBroken
    | StepsFail
    | Approved
    | Rebooted
    | Instructed
)
"""All that can happen. Closed: ``match`` over it ends in ``assert_never``."""

Script = tuple[Act, ...]
"""In the order of their times."""

KINDS: Final = tuple(kind.__name__ for kind in get_args(Act))

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Act]] = msgspec.json.Decoder(Act)


def to_text(act: Act) -> str:
    """An act as one line of JSON."""
    return _ENCODER.encode(act).decode()


def from_text(line: str) -> Act:
    """The act of a line. Raises ``msgspec.DecodeError`` (a ValueError) for anything else."""
    return _DECODER.decode(line)


def in_order(acts: Iterable[Act]) -> Script:
    """Acts in the order of their times; those of the same instant stay as they are."""
    return tuple(sorted(acts, key=lambda act: act.at_ms))
