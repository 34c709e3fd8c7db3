"""A page of the machine: whose it is by Xen's word, and taking it out of use."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ringfence.arch import mci_misc
from ringfence.arch.mci_status import ADDRV, MISCV
from ringfence.hypervisor.xen.numbers import Numbers
from ringfence.hypervisor.xen.sysctl import OWNER_SHIFT, PageCommand, PageStatus, QueryStatus, Sysctl
from ringfence.quick import changed
from ringfence.record.evidence import Delivery, Record
from ringfence.world.domain import Domain, DomainKind
from ringfence.world.frames import FrameFacts, FrameUse, Mapping, MappingKind
from ringfence.world.identities import DOM0, PAGE_SHIFT, DomainId, Frame, GuestFrame
from ringfence.world.steps import OfflineFrame, Result, Status

_MASK: Final = 0xFFFF

Owns = Callable[[DomainId, Frame], bool]


def owner(record: Record) -> DomainId | None:
    """The domain that has the page, by the telemetry's word: the recovery entry first, then the bank's."""
    seen = record.hypervisor
    if seen is None:
        return None
    if seen.page_status is not None and seen.page_status & PageStatus.OWNED:
        return DomainId(seen.page_status >> OWNER_SHIFT & _MASK)
    return None if seen.owner is None else DomainId(seen.owner)


def is_offlined(record: Record) -> bool:
    """Whether Xen has taken the page out of use: it was nobody's."""
    seen = record.hypervisor
    return seen is not None and seen.page_status is not None and bool(seen.page_status & PageStatus.OFFLINED)


def is_told(record: Record) -> bool:
    """Whether Xen unmapped the page and told its owner: it has then put the owner's own address into MCi_ADDR."""
    seen, addr = record.hypervisor, record.registers.addr
    return (
        seen is not None and seen.machine_frame is not None and addr is not None
        and addr >> PAGE_SHIFT != seen.machine_frame
    )  # fmt: skip


def facts(frame: Frame, record: Record, domains: Sequence[Domain], owns: Owns) -> FrameFacts:
    """What is known of a frame that a record names: by the record, else by asking each PV domain if it is its own.

    Xen tells nobody who else maps a page: only the owner's own mapping is listed, which cannot be taken away here.
    """
    seen = record.hypervisor
    named = seen is not None and seen.machine_frame == frame
    status = PageStatus((seen.page_status or 0) & _MASK) if seen is not None and named else PageStatus(0)
    broken = bool(status)
    if PageStatus.OFFLINED in status:
        return FrameFacts(frame=frame, use=FrameUse.OFFLINE, broken=broken)
    if PageStatus.XENPAGE in status:
        return FrameFacts(frame=frame, use=FrameUse.HYPERVISOR, broken=broken)
    if PageStatus.NOT_CONV_RAM in status:
        return FrameFacts(frame=frame, use=FrameUse.NOT_MEMORY, broken=broken)
    has = owner(record)
    if has is None and not _was_looked_up(record):
        has = next((each.id for each in domains if each.kind in _ASKED and each.lives and owns(each.id, frame)), None)
    if has is None:
        return FrameFacts(frame=frame, use=FrameUse.UNKNOWN, broken=broken)
    own = GuestFrame((record.registers.addr or 0) >> PAGE_SHIFT) if named and is_told(record) else None
    left = own is None or has == DOM0
    mappings = (Mapping(domain=has, kind=MappingKind.CPU, guest_frame=own, removable=False),) if left else ()
    return FrameFacts(frame=frame, use=FrameUse.DOMAIN, owner=has, guest_frame=own, mappings=mappings, broken=broken)


def numbered(facts: FrameFacts, domains: Sequence[Domain], numbers: Numbers | None) -> FrameFacts:
    """The same with the number that a PV guest has for the frame, where Xen's telemetry did not tell it.

    Xen's own table says it, of PV guests alone; a page is told to its owner in no other number (law L7).
    """
    owner = next((each for each in domains if each.id == facts.owner), None)
    if numbers is None or facts.guest_frame is not None or owner is None or owner.kind is not DomainKind.PV:
        return facts
    number = numbers.of(facts.frame)
    mappings = tuple(
        msgspec.structs.replace(each, guest_frame=number)
        if each.domain == owner.id and each.guest_frame is None
        else each
        for each in facts.mappings
    )
    return changed(facts, guest_frame=number, mappings=mappings)


def _was_looked_up(record: Record) -> bool:
    """Whether Xen has looked for the owner itself (mca_init_bank): then that no domain has it is an answer."""
    if record.delivery not in {Delivery.POLLED, Delivery.CMCI}:
        return False
    held = record.registers
    status, misc = held.status or 0, held.misc or 0
    physical = mci_misc.ADDRESS_MODE.of(misc) == mci_misc.AddressMode.PHYSICAL
    return bool(ADDRV.of(status)) and bool(MISCV.of(status)) and physical


_ASKED: Final = frozenset({DomainKind.PV, DomainKind.DOM0})

_WHY: Final = (
    (PageStatus.XENPAGE, "it is Xen's own"),
    (PageStatus.NOT_CONV_RAM, "it is no ordinary memory"),
    (PageStatus.ANONYMOUS, "it belongs to nobody who could let it go"),
    (PageStatus.BROKEN, "it is known to be broken"),
    (PageStatus.OWNED, "it is a domain's"),
)


MOST_FRAME: Final = 0xFFFF_FFFF
"""The hypercall has 32 bits for a frame's number: 16 TiB (struct xen_sysctl_page_offline_op)."""


def offlined(sysctl: Sysctl, first: Frame, count: int) -> Result:
    """Take frames out of use: DONE if all are, PENDING if some wait for their owner, FAILED if one cannot be.

    REFUSED where the first is no memory: nothing was asked for, or nothing has changed.
    """
    if not 0 <= first <= first + count - 1 <= MOST_FRAME:
        return Result(Status.REFUSED, f"Xen knows no frame {first:#x}")
    results: list[Result] = []
    for at in range(count):
        results.append(_one(sysctl, Frame(first + at)))
        if results[0].status is Status.REFUSED:
            return results[0]
    for status in (Status.REFUSED, Status.FAILED, Status.PENDING, Status.DONE):
        if found := next((each for each in results if each.status is status), None):
            return found
    return Result(Status.REFUSED, "no frame is named")


def _one(sysctl: Sysctl, frame: Frame) -> Result:
    """Take one frame out of use, unless Xen has marked it as broken: to ask for a broken page once more would crash
    whoever has it, Dom0 too (xen/common/page_alloc.c, offline_page: "Under such case, hypervisor shutdown guest").
    """
    try:
        state = QueryStatus(sysctl.page(PageCommand.QUERY, frame) & _MASK)
        if QueryStatus.OFFLINED in state:
            return Result(Status.DONE, "Xen has taken it out of use already")
        if QueryStatus.BROKEN in state:
            return Result(Status.PENDING, "Xen has marked it as broken: out of use as soon as its owner lets it go")
        answer = sysctl.page(PageCommand.OFFLINE, frame)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return Result(Status.REFUSED, f"there is no memory at frame {frame:#x}")
        return Result(Status.FAILED, f"Xen answers {error.strerror} ({error.errno}) for frame {frame:#x}")
    status = PageStatus(answer & _MASK)
    words = ", ".join(why for bit, why in _WHY if bit in status)
    if PageStatus.OFFLINED in status:
        return Result(Status.DONE)
    if PageStatus.PENDING in status:
        whose = f" (domain {answer >> OWNER_SHIFT & _MASK})" if PageStatus.OWNED in status else ""
        return Result(Status.PENDING, f"{words or 'it is in use'}{whose}: out of use as soon as it is let go")
    return Result(Status.FAILED, f"frame {frame:#x}: {words or f'status {answer:#x}'}")


def state(sysctl: Sysctl, step: OfflineFrame) -> Result:
    """What has become of frames that were asked for: PENDING while one of them waits for its owner."""
    for frame in range(step.frame, step.frame + step.pages):
        try:
            found = QueryStatus(sysctl.page(PageCommand.QUERY, Frame(frame)) & _MASK)
        except OSError as error:
            return Result(Status.UNKNOWN, f"Xen answers {error.strerror} ({error.errno}) for frame {frame:#x}")
        if QueryStatus.OFFLINED in found:
            continue
        if found & (QueryStatus.OFFLINE_PENDING | QueryStatus.BROKEN):
            return Result(Status.PENDING, "its owner has not let it go yet")
        return Result(Status.FAILED, f"frame {frame:#x} is in use, and nobody waits for it: somebody put it back")
    return Result(Status.DONE, "its owner has let it go: it is out of use")


def onlined(sysctl: Sysctl, frame: Frame) -> Result:
    """Put a frame back into use."""
    if not 0 <= frame <= MOST_FRAME:
        return Result(Status.REFUSED, f"Xen knows no frame {frame:#x}")
    try:
        answer = sysctl.page(PageCommand.ONLINE, frame)
    except OSError as error:
        return Result(Status.FAILED, f"Xen answers {error.strerror} ({error.errno})")
    if PageStatus(answer & _MASK) & PageStatus.OFFLINED:  # PG_ONLINE_ONLINED is the same bit
        return Result(Status.DONE)
    return Result(Status.FAILED, f"frame {frame:#x}: status {answer:#x}")
