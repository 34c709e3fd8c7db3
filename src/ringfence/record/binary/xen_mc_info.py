"""Xen's ``mc_info``: the telemetry that the hypercall XEN_MC_fetch returns, 768 bytes for one event.

Layout and flags: Xen xen/include/public/arch-x86/xen-mca.h (x86_64; the same in 4.17, 4.20 and 4.23-unstable). What the
hypervisor puts into the fields: xen/arch/x86/cpu/mcheck/mce.c (mca_init_bank, mca_init_global) and mcaction.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import lru_cache
from struct import Struct
from typing import Final

import msgspec

from ringfence.arch import mci_status
from ringfence.arch.mcg import LMCE_S
from ringfence.errors import FormatError
from ringfence.record.binary.layout import give, part, take
from ringfence.record.evidence import (
    Claim,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    HypervisorReport,
    Origin,
    Record,
    Registers,
    Unrecognised,
)

MC_INFO_BYTES: Final = 768
"""sizeof(struct mc_info): MCINFO_MAXSIZE."""

DATA_BYTES: Final = 760
"""The entries' room: mi_data[95], eight bytes each, after mi_nentries and flags."""

_HEADER = Struct("<II")
_COMMON = Struct("<HH")
_GLOBAL = Struct("<HHHHIHHIIQ")
_BANK = Struct("<HHHHQQQQQ")
_EXTENDED = Struct("<HHI64Q")
_RECOVERY = Struct("<HHHBB16s")
_PAGE_RETIRE = Struct("<QQ")
_CPU_OFFLINE = Struct("<IHH8x")
_MAX_MSRS = 32

DOMID_INVALID: Final = 0x7FF4
"""No domain (xen/include/public/xen.h)."""

VCPUID_INVALID: Final = 0xFFFF
"""XEN_MC_VCPUID_INVALID."""

_INCOMPLETE = 1
_PAGE_SHIFT = 12


class McType(IntEnum):
    """MC_TYPE_*: what an entry of mi_data is."""

    GLOBAL = 0
    BANK = 1
    EXTENDED = 2
    RECOVERY = 3


class McFlag(IntFlag):
    """MC_FLAG_*: mc_flags of the global entry. RESET is never set by Xen."""

    CORRECTABLE = 0x01
    UNCORRECTABLE = 0x02
    RECOVERABLE = 0x04
    POLLED = 0x08
    RESET = 0x10
    CMCI = 0x20
    MCE = 0x40


class McAction(IntFlag):
    """MC_ACTION_*: action_types of a recovery entry. Xen only ever uses PAGE_OFFLINE."""

    PAGE_OFFLINE = 1
    CPU_OFFLINE = 2
    CACHE_SHRINK = 4


class McInfoGlobal(msgspec.Struct, frozen=True, kw_only=True):
    """struct mcinfo_global: where the event was taken in, by whom, and the MCG_STATUS there."""

    domid: int = DOMID_INVALID
    vcpuid: int = VCPUID_INVALID
    socketid: int = 0
    coreid: int = 0
    core_threadid: int = 0
    apicid: int = 0
    flags: int = 0
    gstatus: int = 0

    def pack(self) -> bytes:
        """The 32 bytes. Raises ValueError if a value does not fit its field, as every ``pack`` here."""
        return give(_GLOBAL, "mcinfo_global",
            McType.GLOBAL, _GLOBAL.size, self.domid, self.vcpuid, self.socketid, self.coreid, self.core_threadid,
            self.apicid, self.flags, self.gstatus,
        )  # fmt: skip


class McInfoBank(msgspec.Struct, frozen=True, kw_only=True):
    """struct mcinfo_bank: one bank's registers. ``domid`` owns the page that ``addr`` named, when Xen could tell."""

    bank: int
    domid: int = DOMID_INVALID
    status: int = 0
    addr: int = 0
    misc: int = 0
    ctrl2: int = 0
    tsc: int = 0

    def pack(self) -> bytes:
        """The 48 bytes."""
        return give(_BANK, "mcinfo_bank",
            McType.BANK, _BANK.size, self.bank, self.domid, self.status, self.addr, self.misc, self.ctrl2, self.tsc
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class McInfoExtended:
    """struct mcinfo_extended: further MSRs, at most 32, as (register, value)."""

    msrs: tuple[tuple[int, int], ...] = ()

    def pack(self) -> bytes:
        """The 520 bytes. Raises ValueError for more MSRs than there is room for."""
        if len(self.msrs) > _MAX_MSRS:
            raise ValueError(f"mcinfo_extended holds {_MAX_MSRS} MSRs, not {len(self.msrs)}")
        flat = [number for pair in self.msrs for number in pair]
        flat += [0] * (2 * _MAX_MSRS - len(flat))
        return give(_EXTENDED, "mcinfo_extended", McType.EXTENDED, _EXTENDED.size, len(self.msrs), *flat)


@dataclass(frozen=True, slots=True, kw_only=True)
class McInfoRecovery:
    """struct mcinfo_recovery: what Xen did about a bank's error. ``action_info`` is the union, 16 bytes."""

    bank: int
    action_flags: int = 0
    action_types: int = McAction.PAGE_OFFLINE
    action_info: bytes = bytes(16)

    @classmethod
    def page_offline(cls, *, bank: int, mfn: int, status: int) -> McInfoRecovery:
        """Xen tried to take machine frame ``mfn`` out of use; ``status`` is PG_OFFLINE_* and the owner << 16."""
        return cls(bank=bank, action_info=give(_PAGE_RETIRE, "page_offline_action", mfn, status))

    @classmethod
    def cpu_offline(cls, *, bank: int, socketid: int, coreid: int, core_threadid: int) -> McInfoRecovery:
        """Xen took a logical processor out of use (no released Xen reports this)."""
        info = give(_CPU_OFFLINE, "cpu_offline_action", socketid, coreid, core_threadid)
        return cls(bank=bank, action_types=McAction.CPU_OFFLINE, action_info=info)

    @property
    def page(self) -> tuple[int, int] | None:
        """Machine frame and PG_OFFLINE_* status; None if the action was no page offlining."""
        if not self.action_types & McAction.PAGE_OFFLINE:
            return None
        mfn, status = _PAGE_RETIRE.unpack(self.action_info)
        return mfn, status

    def pack(self) -> bytes:
        """The 24 bytes."""
        return give(
            _RECOVERY,
            "mcinfo_recovery",
            McType.RECOVERY,
            _RECOVERY.size,
            self.bank,
            self.action_flags,
            self.action_types,
            self.action_info,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class McInfoOpaque:
    """An entry of a type that this reader does not know; ``content`` is all of it, header included."""

    content: bytes

    def pack(self) -> bytes:
        """The entry as it was."""
        return self.content


McInfoEntry = McInfoGlobal | McInfoBank | McInfoExtended | McInfoRecovery | McInfoOpaque

_SIZES: Final[dict[type[McInfoEntry], int]] = {
    McInfoGlobal: _GLOBAL.size,
    McInfoBank: _BANK.size,
    McInfoExtended: _EXTENDED.size,
    McInfoRecovery: _RECOVERY.size,
}
"""Of the entries that have always the same."""


class McInfo(msgspec.Struct, frozen=True, kw_only=True):
    """struct mc_info. ``incomplete`` is MCINFO_FLAGS_UNCOMPLETE: Xen ran out of room and left entries out.

    ``missing`` counts entries that mi_nentries announces and that are not there.
    """

    entries: tuple[McInfoEntry, ...] = ()
    incomplete: bool = False
    missing: int = 0

    @property
    def data_bytes(self) -> int:
        """How many of the 760 bytes the entries need."""
        return sum(_SIZES.get(type(entry), 0) or len(entry.pack()) for entry in self.entries)

    def pack(self) -> bytes:
        """The 768 bytes as Xen would return them.

        Raises ValueError if the entries need more than 760 bytes or a value does not fit its field.
        """
        data = b"".join(entry.pack() for entry in self.entries)
        header = give(_HEADER, "mc_info", len(self.entries) + self.missing, _INCOMPLETE * self.incomplete)
        if len(data) > DATA_BYTES:
            raise ValueError(f"the entries of mc_info need {len(data)} bytes and have {DATA_BYTES}")
        return header + data.ljust(DATA_BYTES, b"\0")

    @classmethod
    def unpack(cls, blob: bytes) -> McInfo:
        """The entries of one mc_info: by ``size``, at most ``mi_nentries`` of them, to a size of 0 or the end.

        Raises FormatError if there are fewer than 768 bytes, or an entry is smaller than its header or leaves them.
        """
        blob = part(blob, 0, MC_INFO_BYTES, "mc_info")
        nentries, flags = take(_HEADER, blob, 0, "mc_info")
        entries: list[McInfoEntry] = []
        at = _HEADER.size
        while len(entries) < nentries and at + _COMMON.size <= MC_INFO_BYTES:
            kind, size = take(_COMMON, blob, at, "mcinfo_common")
            if size == 0:
                break
            if size < _COMMON.size:
                raise FormatError(f"mc_info entry of type {kind} claims {size} bytes", offset=at)
            entries.append(_entry(kind, part(blob, at, size, f"mc_info entry of type {kind}")))
            at += size
        return cls(entries=tuple(entries), incomplete=bool(flags & _INCOMPLETE), missing=nentries - len(entries))


def _entry(kind: int, content: bytes) -> McInfoEntry:
    """The entry in ``content``; opaque if its type is unknown or its size is not that type's."""
    match kind, len(content):
        case McType.GLOBAL, _GLOBAL.size:
            _, _, domid, vcpuid, socketid, coreid, threadid, apicid, flags, gstatus = _GLOBAL.unpack(content)
            return McInfoGlobal(
                domid=domid, vcpuid=vcpuid, socketid=socketid, coreid=coreid, core_threadid=threadid, apicid=apicid,
                flags=flags, gstatus=gstatus,
            )  # fmt: skip
        case McType.BANK, _BANK.size:
            _, _, bank, domid, status, addr, misc, ctrl2, tsc = _BANK.unpack(content)
            return McInfoBank(bank=bank, domid=domid, status=status, addr=addr, misc=misc, ctrl2=ctrl2, tsc=tsc)
        case McType.EXTENDED, _EXTENDED.size:
            _, _, count, *flat = _EXTENDED.unpack(content)
            if count <= _MAX_MSRS:
                return McInfoExtended(msrs=tuple(zip(flat[: 2 * count : 2], flat[1 : 2 * count : 2], strict=True)))
        case McType.RECOVERY, _RECOVERY.size:
            _, _, bank, action_flags, action_types, info = _RECOVERY.unpack(content)
            return McInfoRecovery(bank=bank, action_flags=action_flags, action_types=action_types, action_info=info)
    return McInfoOpaque(content=content)


def detect(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes that begins with ``head`` is a sequence of mc_info.

    Each of the wholly visible ones must begin with a global entry, as Xen always writes it, and be sound.
    """
    visible = len(head) // MC_INFO_BYTES
    return (
        size > 0
        and size % MC_INFO_BYTES == 0
        and visible > 0
        and all(_is_sound(head[at * MC_INFO_BYTES : (at + 1) * MC_INFO_BYTES]) for at in range(visible))
    )


def _is_sound(blob: bytes) -> bool:
    try:
        info = McInfo.unpack(blob)
    except FormatError:
        return False
    return bool(info.entries) and isinstance(info.entries[0], McInfoGlobal) and not info.missing


def read(blob: bytes, file: str, base_offset: int = 0) -> Iterator[Evidence]:
    """A record for every bank of every mc_info in the blob. What cannot be read is Unrecognised; nothing is raised."""
    for at in range(0, len(blob), MC_INFO_BYTES):
        raw = blob[at : at + MC_INFO_BYTES]
        origin = Origin(file, offset=base_offset + at)
        try:
            info = McInfo.unpack(raw)
        except FormatError as error:
            yield Unrecognised(origin, raw, str(error))
            continue
        yield from records(info, origin=origin, raw=raw)


def records(info: McInfo, *, origin: Origin, raw: bytes) -> Iterator[Evidence]:
    """The evidence in one mc_info. All of its records share ``raw``, the 768 bytes.

    A broadcast machine check leaves an mc_info on every CPU, also where no bank saw much: each is a record of its own.
    """
    banks = [entry for entry in info.entries if isinstance(entry, McInfoBank)]
    globals_ = [entry for entry in info.entries if isinstance(entry, McInfoGlobal)]
    recoveries = [entry for entry in info.entries if isinstance(entry, McInfoRecovery)]
    extended = tuple(pair for entry in info.entries if isinstance(entry, McInfoExtended) for pair in entry.msrs)
    assumptions = _reservations(info, len(globals_))
    for bank in banks:
        # A bank may be acted upon more than once in theory; the last word counts.
        recovery = next((entry for entry in reversed(recoveries) if entry.bank == bank.bank), None)
        common = globals_[0] if globals_ else None
        yield _record(bank, common, recovery, extended, origin=origin, raw=raw, assumptions=assumptions)
    if not banks:
        yield Unrecognised(origin, raw, "mc_info without a bank entry")
    for entry in info.entries:
        if isinstance(entry, McInfoOpaque):
            kind, size = take(_COMMON, entry.content, 0, "mcinfo_common")
            yield Unrecognised(origin, entry.content, f"mc_info entry of type {kind} with {size} bytes")


def _reservations(info: McInfo, globals_: int) -> tuple[str, ...]:
    """What is wrong with the structure as a whole, said with each of its records."""
    if globals_ == 1 and not (info.incomplete or info.missing):
        return ()
    return tuple(
        text
        for text, applies in (
            ("Xen marks this mc_info as incomplete: it left entries out for lack of room", info.incomplete),
            (f"mc_info announces {info.missing} more entries than it has", info.missing > 0),
            ("mc_info has no global entry: delivery, MCG_STATUS and CPU are not known", globals_ == 0),
            (f"mc_info has {globals_} global entries: the first one is taken", globals_ > 1),
        )
        if applies
    )


def _record(  # noqa: PLR0913 (one argument an entry, and what holds for all of them)
    bank: McInfoBank,
    common: McInfoGlobal | None,
    recovery: McInfoRecovery | None,
    extended: tuple[tuple[int, int], ...],
    *,
    origin: Origin,
    raw: bytes,
    assumptions: tuple[str, ...],
) -> Record:
    page = recovery.page if recovery else None
    has_addr = bool(bank.status & mci_status.ADDRV.mask)
    has_misc = bool(bank.status & mci_status.MISCV.mask)
    return Record(
        origin=origin,
        format=Format.XEN_MC_INFO,
        raw=raw,
        registers=Registers(
            status=bank.status,
            addr=bank.addr if has_addr or bank.addr else None,
            misc=bank.misc if has_misc or bank.misc else None,
            # Filled for CMCI only; there is no wall clock in mc_info.
            ctl2=bank.ctrl2 or None,
            tsc=bank.tsc or None,
            mcg_status=common.gstatus if common else None,
        ),
        bank=bank.bank,
        socket=common.socketid if common else None,
        apicid=common.apicid if common else None,
        delivery=_delivery(common.flags, local=bool(common.gstatus & LMCE_S.mask)) if common else Delivery.UNKNOWN,
        hypervisor=HypervisorReport(
            domain=None if common is None or common.domid == DOMID_INVALID else common.domid,
            vcpu=None if common is None or common.vcpuid == VCPUID_INVALID else common.vcpuid,
            global_flags=common.flags if common else None,
            # Xen leaves DOMID_INVALID unless the address was physical and owned (mca_init_bank), or a recovery found
            # the owner (mc_memerr_dhandler).
            owner=None if bank.domid == DOMID_INVALID else bank.domid,
            action_flags=recovery.action_flags if recovery else None,
            action_types=recovery.action_types if recovery else None,
            machine_frame=page[0] if page else None,
            page_status=page[1] if page else None,
            extended=extended,
        ),
        # mc_info does not carry the number of the logical CPU.
        claims=(Claim(ClaimKind.HYPERVISOR, f"core {common.coreid} thread {common.core_threadid}", origin),)
        if common
        else (),
        assumptions=(*(_address(bank, page) if has_addr else ()), *assumptions),
    )


@lru_cache(maxsize=64)
def _delivery(flags: int, *, local: bool) -> Delivery:
    if flags & McFlag.MCE:
        return Delivery.LOCAL_MACHINE_CHECK if local else Delivery.MACHINE_CHECK
    if flags & McFlag.CMCI:
        return Delivery.CMCI
    return Delivery.POLLED if flags & McFlag.POLLED else Delivery.UNKNOWN


def _address(bank: McInfoBank, page: tuple[int, int] | None) -> tuple[str, ...]:
    """What MCi_ADDR is worth here: mc_memerr_dhandler overwrites it when it unmapped the page from its owner."""
    if page is None:
        return ()
    if bank.addr >> _PAGE_SHIFT != page[0]:
        return ("MCi_ADDR is guest-physical: Xen overwrote it; the machine frame is the recovery entry's",)
    # Also possible with a guest frame that happens to have the same number.
    return ("MCi_ADDR lies in the machine frame of the recovery entry: taken as host-physical",)
