"""Linux's ``struct mce``: the record of /dev/mcelog, of pstore's ``mce-erst-*`` files and of CPER records in ERST.

Layout: Linux arch/x86/include/uapi/asm/mce.h. The structure only ever grew at its end, so its length says which fields
it has; MCE_GET_RECORD_LEN gives that length to a program, a saved dump has to be asked for it (``record_length``).
Xen (xen/arch/x86/cpu/mcheck/mce.h) and Linux's Xen driver (drivers/xen/mcelog.c) use the same structure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from ringfence.arch import mci_status
from ringfence.arch.cpuid import Vendor
from ringfence.arch.mcg import LMCE_S, MCIP
from ringfence.errors import FormatError
from ringfence.record.binary import cpuvendor
from ringfence.record.binary.layout import give, part, take
from ringfence.record.evidence import (
    Claim,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    Origin,
    Record,
    Registers,
    Unrecognised,
)

LENGTHS: Final = {
    72: "2.6.4 to 2.6.29, x86_64 only: up to extcpu, which was padding",
    88: "2.6.31 to 4.8, and Xen: up to mcgcap",
    104: "4.9: with synd and ipid",
    112: "4.10 to 4.15, and Linux's Xen driver: with ppin",
    116: "4.16 to 5.7, 32-bit kernels: with microcode",
    120: "4.16 to 5.7: with microcode, padded",
    124: "from 5.8, 32-bit kernels: with kflags (unaligned)",
    128: "from 5.8: with kflags",
}
"""Every length that the structure has had, in bytes, and which kernels write it (release numbers are approximate)."""

_TO_EXTCPU = Struct("<7Q4BI4BI")
_TO_MCGCAP = Struct("<IIQ")
_TO_IPID = Struct("<QQ")
_TO_PPIN = Struct("<Q")
_TO_MICROCODE = Struct("<I")

_NOT_KNOWN = 0xFFFF_FFFF
"""What the kernel leaves in extcpu and socketid when it cannot tell them (apei_smca_report_x86_error)."""

SOFTWARE_BANK: Final = 128
"""MCE_EXTENDED_BANK: bank numbers from here on are the kernel's own (128: thermal events)."""

APEI_BANK: Final = 255
"""The bank of records that apei_mce_report_mem_error makes up from a firmware report."""

# 2000-01-01 and 2100-01-01: a time outside is no time, and helps to reject a wrong record length.
_EARLIEST_TIME_S, _LATEST_TIME_S = 946_684_800, 4_102_444_800

_LOG_SIGNATURE = b"MACHINECHECK"
# struct mce_log: signature[12], len, next, flags, recordlen; the entries follow at 8-byte alignment on x86_64 and
# at once on i386 (Linux arch/x86/include/asm/mce.h up to 4.11, drivers: dev-mcelog.c after that).
_LOG_HEADER = Struct("<12s4I")


@dataclass(frozen=True, slots=True, kw_only=True)
class StructMce:
    """The fields of ``struct mce``, named as the kernel names them; "fields are zero when not available"."""

    status: int = 0
    misc: int = 0
    addr: int = 0
    mcgstatus: int = 0
    ip: int = 0
    tsc: int = 0
    time: int = 0
    cpuvendor: int = 0
    inject_flags: int = 0
    severity: int = 0
    cpuid: int = 0
    cs: int = 0
    bank: int = 0
    cpu: int = 0
    finished: int = 0
    extcpu: int = 0
    socketid: int | None = None
    apicid: int | None = None
    mcgcap: int = 0
    synd: int = 0
    ipid: int = 0
    ppin: int = 0
    microcode: int = 0

    @classmethod
    def unpack(cls, blob: bytes) -> StructMce:
        """One structure, its fields up to where ``blob`` ends (later ones keep their default).

        Raises FormatError if the length is none of ``LENGTHS``.
        """
        if len(blob) not in LENGTHS:
            raise FormatError(f"struct mce is never {len(blob)} bytes long", offset=0)
        what = "struct mce"
        (
            status, misc, addr, mcgstatus, ip, tsc, time, vendor, inject_flags, severity, _pad, cpuid, cs, bank, cpu,
            finished, extcpu,
        ) = take(_TO_EXTCPU, blob, 0, what)  # fmt: skip
        socketid, apicid, mcgcap = take(_TO_MCGCAP, blob, 72, what) if len(blob) >= 88 else (None, None, 0)
        synd, ipid = take(_TO_IPID, blob, 88, what) if len(blob) >= 104 else (0, 0)
        (ppin,) = take(_TO_PPIN, blob, 104, what) if len(blob) >= 112 else (0,)
        (microcode,) = take(_TO_MICROCODE, blob, 112, what) if len(blob) >= 116 else (0,)
        return cls(
            status=status, misc=misc, addr=addr, mcgstatus=mcgstatus, ip=ip, tsc=tsc, time=time, cpuvendor=vendor,
            inject_flags=inject_flags, severity=severity, cpuid=cpuid, cs=cs, bank=bank, cpu=cpu, finished=finished,
            extcpu=extcpu, socketid=socketid, apicid=apicid, mcgcap=mcgcap, synd=synd, ipid=ipid, ppin=ppin,
            microcode=microcode,
        )  # fmt: skip

    def pack(self, length: int = 128) -> bytes:
        """The structure in ``length`` bytes; the kernel's private ``kflags`` are zero.

        Raises ValueError if the length is none of ``LENGTHS``, a field that is set would be cut off, or a value does
        not fit its field.
        """
        if length not in LENGTHS:
            raise ValueError(f"struct mce is never {length} bytes long")
        what = "struct mce"
        whole = b"".join(
            (
                give(
                    _TO_EXTCPU, what,
                    self.status, self.misc, self.addr, self.mcgstatus, self.ip, self.tsc, self.time, self.cpuvendor,
                    self.inject_flags, self.severity, 0, self.cpuid, self.cs, self.bank, self.cpu, self.finished,
                    self.extcpu,
                ),
                give(_TO_MCGCAP, what, self.socketid or 0, self.apicid or 0, self.mcgcap),
                give(_TO_IPID, what, self.synd, self.ipid),
                give(_TO_PPIN, what, self.ppin),
                give(_TO_MICROCODE, what, self.microcode),
                bytes(12),
            )
        )  # fmt: skip
        if any(whole[length:]):
            raise ValueError(f"struct mce of {length} bytes has no room for a field that is set")
        return whole[:length]

    def is_plausible(self) -> bool:
        """Whether a kernel could have written this: used to find the record length of a bare dump."""
        return (
            (bool(self.status & mci_status.VAL.mask) or self.bank >= SOFTWARE_BANK)
            and self.cpuvendor in cpuvendor.PLAUSIBLE
            and self.finished <= 1
            and not self.cpuid & 0xF000_C000  # reserved bits of CPUID.1:EAX
            and (self.time == 0 or _EARLIEST_TIME_S <= self.time < _LATEST_TIME_S)
            and (self.extcpu in {0, _NOT_KNOWN} or self.extcpu & 0xFF == self.cpu)
        )

    def record(self, *, origin: Origin, raw: bytes, format: Format = Format.STRUCT_MCE) -> Record:  # noqa: A002 (the field's own name)
        """The record that these fields make. A zero that stands for "not available" becomes None.

        MCG_STATUS is always given: Linux reads it for every record, and MCIP in it tells #MC from polling.
        """
        vendor, assumed = self._vendor()
        has_context = bool(self.ip or self.cs)
        claims = []
        if self._is_from_xens_panic:
            claims.append(Claim(ClaimKind.HYPERVISOR, f"core {self.cpu}", origin))
        if self.inject_flags:
            claims.append(Claim(ClaimKind.INJECTION, f"inject_flags {self.inject_flags:#x}", origin))
        if self.severity:
            # The kernel's own enum, whose values changed between releases: the number is all that can be kept.
            claims.append(Claim(ClaimKind.SEVERITY, f"severity {self.severity}", origin))
        return Record(
            origin=origin,
            format=format,
            raw=raw,
            registers=Registers(
                status=self.status,
                addr=self.addr if self.addr or self.status & mci_status.ADDRV.mask else None,
                misc=self.misc if self.misc or self.status & mci_status.MISCV.mask else None,
                synd=self.synd if self.synd or self._syndrome_is_valid(vendor) else None,
                ipid=self.ipid or None,
                mcg_status=self.mcgstatus,
                mcg_cap=self.mcgcap or None,
                tsc=self.tsc or None,
                ppin=self.ppin or None,
                ip=self.ip if has_context else None,
                cs=self.cs if has_context else None,
            ),
            bank=self.bank,
            cpu=self._logical_cpu(),
            socket=None if self.socketid == _NOT_KNOWN else self.socketid,
            apicid=None if self.apicid == _NOT_KNOWN else self.apicid,
            vendor=vendor,
            cpuid=self.cpuid or None,
            microcode=self.microcode or None,
            time=float(self.time) if self.time else None,
            delivery=self._delivery(),
            claims=tuple(claims),
            assumptions=(assumed,) if assumed else (),
        )

    def _vendor(self) -> tuple[Vendor | None, str | None]:
        # Intel's number is zero: without a CPUID beside it, the zero means that nobody filled the fields in (72 bytes).
        return cpuvendor.identify(self.cpuvendor, self.cpuid) if self.cpuvendor or self.cpuid else (None, None)

    @property
    def _is_from_xens_panic(self) -> bool:
        # x86_mcinfo_apei_save fills in neither time nor mcgcap nor extcpu; Linux always has the first two (mce_setup).
        return self.socketid is not None and not (self.time or self.mcgcap or self.extcpu)

    def _logical_cpu(self) -> int | None:
        # extcpu, or before it was there the 8-bit field. Xen's panic path puts a core number into the latter.
        if self.extcpu == _NOT_KNOWN or self._is_from_xens_panic:
            return None
        return self.extcpu or self.cpu

    def _syndrome_is_valid(self, vendor: Vendor | None) -> bool:
        # Only with SMCA does bit 53 mean SyndV, and only SMCA banks have an IPID.
        return vendor in {Vendor.AMD, Vendor.HYGON} and bool(self.ipid) and bool(self.status & mci_status.SYNDV.mask)

    def _delivery(self) -> Delivery:
        if self.bank == APEI_BANK:
            return Delivery.FIRMWARE
        if not self.mcgstatus & MCIP.mask:
            return Delivery.POLLED
        return Delivery.LOCAL_MACHINE_CHECK if self.mcgstatus & LMCE_S.mask else Delivery.MACHINE_CHECK


def of_record(record: Record) -> StructMce:
    """The structure that says what ``record`` says, as far as ``struct mce`` has a field for it.

    CPU, socket and APIC id that are None become "not known" (all ones). Raises ValueError if there is no MCi_STATUS.
    """
    registers = record.registers
    if registers.status is None:
        raise ValueError("struct mce carries MCi_STATUS, and the record has none")
    extcpu = _NOT_KNOWN if record.cpu is None else record.cpu
    return StructMce(
        status=registers.status,
        misc=registers.misc or 0,
        addr=registers.addr or 0,
        mcgstatus=registers.mcg_status or 0,
        ip=registers.ip or 0,
        tsc=registers.tsc or 0,
        time=int(record.time or 0),
        cpuvendor=cpuvendor.number(record.vendor),
        cpuid=record.cpuid or 0,
        cs=registers.cs or 0,
        bank=record.bank or 0,
        cpu=extcpu & 0xFF,
        finished=1,
        extcpu=extcpu,
        socketid=_NOT_KNOWN if record.socket is None else record.socket,
        apicid=_NOT_KNOWN if record.apicid is None else record.apicid,
        mcgcap=registers.mcg_cap or 0,
        synd=registers.synd or 0,
        ipid=registers.ipid or 0,
        ppin=registers.ppin or 0,
        microcode=record.microcode or 0,
    )


def write(record: Record, length: int = 128) -> bytes:
    """A record as one ``struct mce`` of ``length`` bytes, as a kernel of that age would give it.

    Raises ValueError if a value does not fit its field, or ``length`` has no field for it. The 72-byte form, which has
    neither CPUID nor socket, is only read.
    """
    if length == 72:
        raise ValueError("the 72-byte struct mce is only read")
    return of_record(record).pack(length)


def record_length(dump: bytes) -> int | None:
    """How long the records of a bare dump are, in bytes; None if no length makes every record plausible.

    A length must divide the dump. A cut-off dump is still told if at least two whole records agree on the length;
    with a single one, the cut could as well have gone through a longer record.
    """
    for length in sorted(LENGTHS, reverse=True):
        whole, rest = divmod(len(dump), length)
        if whole >= (2 if rest else 1) and all(_is_plausible_at(dump, at, length) for at in range(whole)):
            return length
    return None


def _is_plausible_at(dump: bytes, index: int, length: int) -> bool:
    return StructMce.unpack(part(dump, index * length, length, "struct mce")).is_plausible()


def detect(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes that begins with ``head`` is a dump of ``struct mce``."""
    if head.startswith(_LOG_SIGNATURE):
        return True
    return any(
        size % length == 0
        and len(head) >= length
        and all(_is_plausible_at(head, at, length) for at in range(len(head) // length))
        for length in LENGTHS
    )


def begins_with_one(head: bytes) -> bool:
    """Whether ``head`` begins with what a kernel could have written as a ``struct mce``, whatever follows it.

    True of a dump that is cut off or damaged further on; text never begins so, as MCi_STATUS.VAL is the top bit of the
    eighth byte. Of less than the shortest structure, nothing can be told.
    """
    return len(head) >= min(LENGTHS) and _is_plausible_at(head, 0, min(LENGTHS))


def read(blob: bytes, file: str, base_offset: int = 0) -> Iterator[Evidence]:
    """Every record of a dump of ``struct mce``, with or without the kernel's log header before it.

    ``base_offset`` is added to the offsets in the origins. What cannot be read is Unrecognised; nothing is raised.
    """
    start, length, count = 0, record_length(blob), None
    if blob.startswith(_LOG_SIGNATURE):
        try:
            start, length, count = _log_header(blob)
        except FormatError as error:
            yield Unrecognised(Origin(file, offset=base_offset), blob, str(error))
            return
    if length is None:
        why = "no length of struct mce divides these bytes into plausible records"
        yield Unrecognised(Origin(file, offset=base_offset), blob, why)
        return
    whole = (len(blob) - start) // length
    end = start + length * (whole if count is None else min(count, whole))
    for at in range(start, end, length):
        raw = blob[at : at + length]
        yield StructMce.unpack(raw).record(origin=Origin(file, offset=base_offset + at), raw=raw)
    if any(blob[end:]):
        yield Unrecognised(Origin(file, offset=base_offset + end), blob[end:], "bytes after the last whole struct mce")


def _log_header(blob: bytes) -> tuple[int, int, int]:
    """Where the entries of a ``struct mce_log`` start, how long each is, and how many are in use."""
    _, slots, used, _flags, recordlen = take(_LOG_HEADER, blob, 0, "struct mce_log")
    length = recordlen or 72  # before 2.6.31 the field was padding
    if length not in LENGTHS:
        raise FormatError(f"struct mce is never {length} bytes long", offset=24)
    aligned = (len(blob) - 32) % length == 0 or (len(blob) - _LOG_HEADER.size) % length != 0
    return 32 if aligned else _LOG_HEADER.size, length, min(used, slots)
