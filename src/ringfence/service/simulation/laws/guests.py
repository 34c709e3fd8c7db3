"""L7: what guests are told, byte for byte.

The bytes are taken apart here by the layouts of the manuals, not by the code that made them. What a guest does with
them is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Final

from ringfence.decision.laws import Broken, Law
from ringfence.hypervisor.model.observer import Channel, GuestTold
from ringfence.service.simulation.laws.story import Story, losses
from ringfence.service.simulation.trace import Truth
from ringfence.world.identities import PAGE_SHIFT, DomainId

_VMCE: Final = Struct("<4Q")
_MC_INFO_BYTES: Final = 768
_HEADER: Final = Struct("<II")
_COMMON: Final = Struct("<HH")
_GLOBAL: Final = Struct("<HHHHIHHIIQ")
_BANK: Final = Struct("<HHHHQQQQQ")
"""struct mc_info and its entries: xen/include/public/arch-x86/xen-mca.h."""

_DOMID_INVALID: Final = 0x7FF4
_VCPUID_INVALID: Final = 0xFFFF
_STATUS_PRIVATE: Final = 0x0000_0000_FFFF_0000 | (((1 << 53) - 1) ^ ((1 << 32) - 1))
"""MCi_STATUS: bits 31:16 are model-specific, 37:32 and 52:38 "other information" and the count of corrected errors
(SDM vol. 3B 17.3.2.2); a guest is told none of them."""
_STATUS_UC: Final = 1 << 61
"""MCi_STATUS.UC. A page that is told of without it is endangered, not lost (NotifyGuest): that claims nothing."""
_MISC_KNOWN: Final = 0x1FF
"""MCi_MISC: the least significant bit of the address and its mode (SDM vol. 3B 17.3.2.4)."""
_MCG_KNOWN: Final = 0xF
"""MCG_STATUS: RIPV, EIPV, MCIP, LMCE_S."""


class LeakError(ValueError):
    """A notification has something in it that is no lost page."""


def pages_told(told: GuestTold) -> frozenset[int]:
    """The pages that a notification names; empty if it cannot be read."""
    try:
        return _pages(told.channel, told.content)
    except LeakError:
        return frozenset()


@lru_cache(maxsize=4096)
def _pages(channel: Channel, content: bytes) -> frozenset[int]:
    if channel is Channel.VMCE:
        return _pages_of_vmce(content)
    if not content or len(content) % _MC_INFO_BYTES:
        raise LeakError(f"{len(content)} bytes are no mc_info")
    blobs = (content[at : at + _MC_INFO_BYTES] for at in range(0, len(content), _MC_INFO_BYTES))
    return frozenset[int]().union(*(_pages_of_info(blob) for blob in blobs))


def _pages_of_vmce(content: bytes) -> frozenset[int]:
    mcg_status, status, addr, misc = _VMCE.unpack(content)
    if mcg_status & ~_MCG_KNOWN:
        raise LeakError(f"MCG_STATUS {mcg_status:#x}")
    if not status >> 63:
        if status or addr or misc:
            raise LeakError("an invalid bank with something in it")
        return frozenset()
    return frozenset({_page(status, addr, misc)})


def _page(status: int, addr: int, misc: int) -> int:
    if status & _STATUS_PRIVATE:
        raise LeakError(f"MCi_STATUS {status:#x} has bits of the host's own in it")
    if addr & ((1 << PAGE_SHIFT) - 1):
        raise LeakError(f"MCi_ADDR {addr:#x} is finer than a page")
    if misc & ~_MISC_KNOWN:
        raise LeakError(f"MCi_MISC {misc:#x}")
    return addr >> PAGE_SHIFT


def _pages_of_info(blob: bytes) -> frozenset[int]:
    entries, _ = _HEADER.unpack_from(blob)
    at, found = _HEADER.size, set[int]()
    for number in range(entries):
        kind, size = _COMMON.unpack_from(blob, at)
        if number == 0 and kind == 0:
            _, _, domid, vcpuid, socket, core, thread, apicid, _, gstatus = _GLOBAL.unpack_from(blob, at)
            if (domid, vcpuid, socket, core, thread, apicid) not in {
                (_DOMID_INVALID, _VCPUID_INVALID, 0, 0, 0, 0),
                (_DOMID_INVALID, 0, 0, 0, 0, 0),
            } or gstatus & ~_MCG_KNOWN:
                raise LeakError("the global entry says something of the host")
        elif kind == 1:
            _, _, _, domid, status, addr, misc, ctl2, tsc = _BANK.unpack_from(blob, at)
            if domid != _DOMID_INVALID or ctl2 or tsc:
                raise LeakError("a bank entry says something of the host")
            page = _page(status, addr, misc)
            if status & _STATUS_UC:
                found.add(page)
        else:
            raise LeakError(f"an entry of type {kind}")
        at += size
    if any(blob[at:]):
        raise LeakError("something stands behind the last entry")
    return frozenset(found)


def check(story: Story) -> Iterator[Broken]:
    """L7 over a whole run."""
    lost: dict[DomainId, list[tuple[int, frozenset[int]]]] = {}
    for what in story.happened(Truth, GuestTold):
        match what:
            case Truth():
                for loss in losses(what):
                    lost.setdefault(loss.domain, []).append((what.at_ns, loss.pages))
            case GuestTold(channel=Channel.VMCE) if story.alone:
                pass  # the hypervisor's own
            case GuestTold(domain=domain):
                yield from _one(story, what, lost.get(domain, []))
            case _:
                pass


def _one(story: Story, told: GuestTold, lost: list[tuple[int, frozenset[int]]]) -> Iterator[Broken]:
    try:
        pages = _pages(told.channel, told.content)
    except (LeakError, ValueError) as error:
        yield story.broken(Law.L7, f"domain {told.domain} was told by {told.channel}: {error}", told.at_ns)
        return
    if not pages and not told.must_act:
        return  # of endangered pages only
    ever = frozenset[int]().union(*(each for _, each in lost))
    if not pages <= ever:
        strange = ", ".join(f"{page:#x}" for page in sorted(pages - ever))
        yield story.broken(
            Law.L7, f"domain {told.domain} was told of page {strange}, which it did not lose", told.at_ns
        )
    elif told.channel is not Channel.VMCE and pages not in [each for _, each in lost]:
        what = f"domain {told.domain} was told of {len(pages)} pages, which is not what any error took from it"
        yield story.broken(Law.L7, what, told.at_ns)
