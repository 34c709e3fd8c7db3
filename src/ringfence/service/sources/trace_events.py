"""Trace events to evidence: which events are wanted, what each needs of the kernel, and what its fields mean.

Source: Linux include/trace/events/mce.h, include/ras/ras_event.h, include/trace/events/memory-failure.h (where newer
kernels have memory_failure_event, in the system ``memory_failure``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from ringfence.errors import FormatError
from ringfence.record.binary import cper_memory
from ringfence.record.binary.cper_memory import ERROR_TYPES
from ringfence.record.binary.cper_section import SEVERITIES, fru_text
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    Location,
    MemoryReport,
    Origin,
    Record,
    Unrecognised,
)
from ringfence.record.text.edac import module_handle
from ringfence.record.text.memory_failure import PAGE_SHIFT
from ringfence.service.sources.trace_format import EventFormat, Fields

_ALL_ONES_8, _ALL_ONES_64 = 0xFF, (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event that came: its format and fields, when (seconds since 1970) and on which CPU it was traced."""

    form: EventFormat
    fields: Fields
    time_s: float
    cpu: int
    payload: bytes

    @property
    def origin(self) -> Origin:
        """The event's name in place of a file."""
        return Origin(f"trace:{self.form.system}:{self.form.name}")

    @property
    def raw(self) -> bytes:
        """The fields as the format file gives them, and the bytes: without that file the bytes alone say nothing."""
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in self.fields.items()}
        event = f"{self.form.system}:{self.form.name}"
        return json.dumps(
            {"event": event, "cpu": self.cpu, "time_s": self.time_s, "fields": fields, "bytes": self.payload.hex()}
        ).encode()

    def number(self, name: str) -> int:
        """A scalar field; zero if this kernel's event does not have it ("fields are zero when not available")."""
        value = self.fields.get(name, 0)
        return value if isinstance(value, int) else 0

    def unsigned(self, name: str) -> int:
        """The same of a field that is declared ``long`` though it holds an unsigned number."""
        value = self.number(name)
        return value if value >= 0 else value + (1 << 64)

    def blob(self, name: str) -> bytes:
        """A field of bytes; empty if this kernel's event does not have it."""
        value = self.fields.get(name, b"")
        return value if isinstance(value, bytes) else b""

    def text(self, name: str) -> str | None:
        """A text, without the NUL that ends it; None if it is empty."""
        return self.blob(name).split(b"\0", 1)[0].decode("utf-8", "backslashreplace").strip() or None


def _mce_record(seen: Occurrence) -> Evidence:
    """mce:mce_record. The fields are those of ``struct mce``; ``v_data`` (6.13) is MCA_SYND1 and MCA_SYND2."""
    if "status" not in seen.fields:
        raise FormatError("mce_record without a status")
    mce = StructMce(
        status=seen.number("status"), misc=seen.number("misc"), addr=seen.number("addr"),
        mcgstatus=seen.number("mcgstatus"), ip=seen.number("ip"), tsc=seen.number("tsc"), time=seen.number("walltime"),
        cpuvendor=seen.number("cpuvendor"), cpuid=seen.number("cpuid"), cs=seen.number("cs"), bank=seen.number("bank"),
        cpu=seen.number("cpu") & 0xFF, extcpu=seen.number("cpu"), socketid=seen.number("socketid"),
        apicid=seen.number("apicid"), mcgcap=seen.number("mcgcap"), synd=seen.number("synd"), ipid=seen.number("ipid"),
        ppin=seen.number("ppin"), microcode=seen.number("microcode"),
    ).record(origin=seen.origin, raw=seen.raw)  # fmt: skip
    vendor_data = seen.blob("v_data")
    if len(vendor_data) >= 16 and mce.registers.ipid is not None:
        synd1, synd2 = (int.from_bytes(vendor_data[at : at + 8], "little") for at in (0, 8))
        mce = replace(mce, registers=replace(mce.registers, synd1=synd1 or None, synd2=synd2 or None))
    return replace(mce, cpu=seen.number("cpu"), time=seen.time_s if mce.time is None else mce.time)


_EDAC_SEVERITIES: Final = (
    ClaimedSeverity.CORRECTED,
    ClaimedSeverity.RECOVERABLE,
    ClaimedSeverity.DEFERRED,
    ClaimedSeverity.FATAL,
    ClaimedSeverity.INFORMATIONAL,
)
"""By number (Linux include/linux/edac.h, enum hw_event_mc_err_type); "uncorrected" need not be fatal."""


def _mc_event(seen: Occurrence) -> Evidence:
    """ras:mc_event, EDAC's. The layers' meaning depends on the driver: they are kept as a claim."""
    kind = seen.number("error_type")
    layers = [seen.number(name) for name in ("top_layer", "middle_layer", "lower_layer")]
    origin = seen.origin
    claims = [Claim(ClaimKind.EDAC, f"layers {':'.join(str(layer) for layer in layers if layer >= 0)}", origin)]
    detail = seen.text("driver_detail")
    if detail is not None:
        claims.append(Claim(ClaimKind.EDAC, detail, origin))
    if kind >= len(_EDAC_SEVERITIES):
        claims.append(Claim(ClaimKind.SEVERITY, f"error_type {kind}", origin))
    # EDAC gives zero where a driver does not know the address.
    address = seen.unsigned("address") or None
    grain = seen.number("grain_bits")
    return Record(
        origin=origin,
        format=Format.EDAC,
        raw=seen.raw,
        time=seen.time_s,
        count=max(1, seen.number("error_count")),
        memory=MemoryReport(
            severity=_EDAC_SEVERITIES[kind] if kind < len(_EDAC_SEVERITIES) else None,
            error=seen.text("msg"),
            location=Location(
                controller=seen.number("mc_index"),
                label=seen.text("label"),
                syndrome=seen.unsigned("syndrome") or None,
            ),
            physical_address=address,
            page_frame=None if address is None else address >> PAGE_SHIFT,
            # grain_bits is fls(grain - 1), or fls(grain - 1) + 1 up to 5.4: a power of two not below the grain.
            grain_bytes=1 << grain if address is not None and grain < 64 else None,
            module_handle=module_handle(detail or ""),
        ),
        claims=tuple(claims),
    )


def _memory_failure(seen: Occurrence) -> Evidence:
    """memory_failure_event: what became of a poisoned page, in this kernel's own words (from the format file)."""
    frame = seen.number("pfn")
    kind, result = (seen.form.word(name, seen.number(name)) for name in ("type", "result"))
    if not 0 < frame < 1 << 64 - PAGE_SHIFT:
        raise FormatError(f"memory_failure_event.pfn is {frame:#x}")
    return Record(
        origin=seen.origin,
        format=Format.MEMORY_FAILURE,
        raw=seen.raw,
        time=seen.time_s,
        memory=MemoryReport(
            severity=ClaimedSeverity.RECOVERABLE,
            error=f"{kind}: {result}",
            page_frame=frame,
            physical_address=frame << PAGE_SHIFT,
            grain_bytes=1 << PAGE_SHIFT,
        ),
        claims=(Claim(ClaimKind.MEMORY_FAILURE, f"recovery action for {kind}: {result}", seen.origin),),
    )


def _firmware_severity(number: int) -> ClaimedSeverity | None:
    return ClaimedSeverity(SEVERITIES[number]) if number < len(SEVERITIES) else None


def _extlog(seen: Occurrence) -> Evidence:
    """ras:extlog_mem_event: firmware's memory error section beside a machine check (eMCA)."""
    digest = seen.blob("data")
    section = cper_memory.unpack_compact(digest) if digest else cper_memory.MemorySection()
    report = section.report(_firmware_severity(seen.number("sev")), fru_text(seen.blob("fru_text")))
    kind, address, mask_bit = seen.number("etype"), seen.unsigned("pa"), seen.number("pa_mask_lsb")
    # All ones is "not valid" for each.
    texts = (f"sequence number {seen.number('err_seq')}", *(text for _, text in section.claims()))
    return Record(
        origin=seen.origin,
        format=Format.GHES,
        raw=seen.raw,
        time=seen.time_s,
        delivery=Delivery.FIRMWARE,
        memory=replace(
            report,
            error=ERROR_TYPES[kind] if kind < len(ERROR_TYPES) else None,
            physical_address=None if address == _ALL_ONES_64 else address,
            physical_address_mask=_ALL_ONES_64 << mask_bit & _ALL_ONES_64 if mask_bit != _ALL_ONES_8 else None,
        ),
        claims=tuple(Claim(ClaimKind.FIRMWARE, text, seen.origin) for text in texts),
    )


_AER_SEVERITIES: Final = ("non-fatal", "fatal", "corrected")


def _aer(seen: Occurrence) -> Evidence:
    """ras:aer_event: PCI Express, not the machine check architecture; shown, and not decoded."""
    severity = seen.number("severity")
    word = _AER_SEVERITIES[severity] if severity < len(_AER_SEVERITIES) else f"severity {severity}"
    text = f"PCIe error of {seen.text('dev_name')}, {word}, status {seen.number('status'):#x}: no machine check"
    return Unrecognised(seen.origin, seen.raw, text)


def _non_standard(seen: Occurrence) -> Evidence:
    """ras:non_standard_event: a firmware section of a type that the kernel has no event for."""
    kind = seen.blob("sec_type")
    name = str(UUID(bytes_le=kind)) if len(kind) == 16 else kind.hex()
    severity = _firmware_severity(seen.number("sev"))
    word = severity.value if severity is not None else "unknown severity"
    return Unrecognised(seen.origin, seen.raw, f"firmware error section of type {name}, {word}: no known form")


Build = Callable[[Occurrence], Evidence]


@dataclass(frozen=True, slots=True)
class WantedEvent:
    """An event to enable: the systems that it may be in, its name, what the kernel needs to have it."""

    systems: tuple[str, ...]
    name: str
    build: Build
    needs: str


EVENTS: Final = (
    WantedEvent(("mce",), "mce_record", _mce_record, "CONFIG_X86_MCE"),
    WantedEvent(("ras",), "mc_event", _mc_event, "CONFIG_RAS, and an EDAC driver to make it"),
    WantedEvent(("memory_failure", "ras"), "memory_failure_event", _memory_failure, "CONFIG_MEMORY_FAILURE"),
    WantedEvent(("ras",), "extlog_mem_event", _extlog, "CONFIG_ACPI_EXTLOG"),
    WantedEvent(("ras",), "aer_event", _aer, "CONFIG_PCIEAER"),
    WantedEvent(("ras",), "non_standard_event", _non_standard, "CONFIG_RAS"),
)


def evidence(build: Build, seen: Occurrence) -> Evidence:
    """The evidence that an event is; Unrecognised if its fields contradict themselves."""
    try:
        return build(seen)
    except FormatError as error:
        return Unrecognised(seen.origin, seen.raw, str(error))
