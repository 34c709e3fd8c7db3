"""FreeBSD's report of a machine check: six lines that begin with ``MCA:`` (sys/x86/x86/mca.c, mca_log).

DragonFly BSD and MidnightBSD print the same. CPU and APIC ID are decimal, all registers have ``0x``.

What firmware reports is printed as ``APEI Corrected Memory Error:`` with a line for each field that is valid
(sys/dev/acpica/acpi_apei.c; the fields are those of UEFI 2.10 N.2.5). The bank is printed whole, and again as bank
group and address where firmware gives it so; the extended row holds the row. FRU text and time stamp end without a new
line.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from ringfence.arch.cpuid import vendor_of
from ringfence.record.binary.cper_memory import ERROR_TYPES
from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Delivery, Format, Location, MemoryReport
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Values

_BANK = re.compile(r"MCA: Bank (?P<bank>\d{1,3}), Status 0x(?P<status>[0-9a-f]{1,16})$")
_GLOBAL = re.compile(r"MCA: Global Cap 0x(?P<cap>[0-9a-f]{1,16}), Status 0x(?P<status>[0-9a-f]{1,16})$")
_VENDOR = re.compile(
    r"MCA: Vendor \"(?P<vendor>[^\"]{1,16})\", ID 0x(?P<cpuid>[0-9a-f]{1,8}), APIC ID (?P<apic>\d{1,10})$"
)
_CPU = re.compile(
    r"MCA: CPU (?P<cpu>\d{1,6}) (?P<kind>UNCOR|COR) (?:\((?P<count>\d{1,5})\) )?(?P<pcc>PCC )?(?P<over>OVER )?"
    r"(?P<error>\S.{0,120})$"
)
_ADDRESS = re.compile(r"MCA: Address 0x(?P<addr>[0-9a-f]{1,16})(?P<mode> \(Mode: .{1,60}\))?$")
_MISC = re.compile(r"MCA: Misc 0x(?P<misc>[0-9a-f]{1,16})$")
_APEI = re.compile(
    r"APEI (?P<severity>Recoverable|Fatal|Corrected|Informational|\?\?\?) "
    r"(?:(?P<kind>Memory|PCIe) Error|Error (?P<guid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})):$"
)
_APEI_PANIC = re.compile(r"panic: APEI Fatal Hardware Error!$")
_APEI_FIELD = re.compile(r"(?P<key>[A-Z][A-Za-z ]{2,30}): (?P<value>0x[0-9a-f]{1,16}|\d{1,10})$")
_APEI_WORDS = re.compile(
    r"(?:FRU Id: |FRU Text: |Timestamp: |Error Data:|Port Type: |Version: |Command Status: |DeviceID:"
    r"|Device Serial Number: |Bridge Control Status: |Capability Structure:|AER Info:|Flags: 0x)"
)
_APEI_DATA = re.compile(r"[0-9a-f]{2}(?: [0-9a-f]{2}){0,15}$")
_APEI_SEVERITIES: Final = {
    "Recoverable": ClaimedSeverity.RECOVERABLE,
    "Fatal": ClaimedSeverity.FATAL,
    "Corrected": ClaimedSeverity.CORRECTED,
    "Informational": ClaimedSeverity.INFORMATIONAL,
}
_APEI_PLACES: Final = {
    "Node": "node",
    "Card": "card",
    "Module": "module",
    "Bank Group": "bank_group",
    "Bank Address": "bank",
    "Device": "device",
    "Row": "row",
    "Column": "column",
    "Rank Number": "rank",
}
_ROW_BITS: Final = 16
_MORE_ROW: Final = "the row has two more bits than its line shows: they are in what the source calls Extended Row"
_APEI_SAID: Final = frozenset(
    {"Error Status", "Bank", "Bit Position", "Requester ID", "Responder ID", "Target ID", "Card Handle", "Flags",
     "Chip Identification"}
)  # fmt: skip
"""Fields that are kept as the source's words; a bank printed whole may have its group in the upper byte."""
_KNOWN = re.compile(r"MCA: (?:Unable to allocate space for an event|AMD MCA |.{0,40}threshold)")
_CHANNEL = re.compile(r"channel (?P<channel>\d{1,2}) memory error$")


def _cpu(match: re.Match[str]) -> Fragment:
    values = Values(cpu=int(match["cpu"]))
    # The number in parentheses is MCi_STATUS[52:38], printed when MCG_CAP.CMCI_P is set.
    if match["count"] and int(match["count"]):
        values["count"] = int(match["count"])
    memory = None
    if (place := _CHANNEL.search(match["error"])) is not None:
        uncorrected = ClaimedSeverity.FATAL if match["pcc"] else ClaimedSeverity.RECOVERABLE
        memory = MemoryReport(
            severity=ClaimedSeverity.CORRECTED if match["kind"] == "COR" else uncorrected,
            error=match["error"],
            location=Location(channel=int(place["channel"])),
        )
    return Fragment(
        Format.FREEBSD,
        "cpu",
        values=values,
        memory=memory,
        claims=(
            (
                ClaimKind.SEVERITY,
                " ".join(word.strip() for word in (match["kind"], match["pcc"], match["over"]) if word),
            ),
            (ClaimKind.ERROR, match["error"]),
        ),
        may_open=True,
    )


def _apei(match: re.Match[str]) -> Fragment:
    guid = match["guid"]
    what = f"section {guid}" if guid else f"{match['kind']} error"
    return Fragment(
        Format.FREEBSD,
        "APEI",
        opens=True,
        values=Values(delivery=Delivery.FIRMWARE),
        memory=MemoryReport(
            severity=_APEI_SEVERITIES.get(match["severity"]), error=None if match["kind"] == "Memory" else what
        ),
        claims=((ClaimKind.SEVERITY, match["severity"]), (ClaimKind.FIRMWARE, f"APEI: {what}")),
    )


def _said(body: str) -> Fragment:
    return Fragment(Format.FREEBSD, "says", claims=((ClaimKind.FIRMWARE, body),), repeats=True, needs="APEI")


def _apei_field(body: str) -> Fragment | None:
    """A line below the head of a firmware report."""
    match = _APEI_FIELD.match(body)
    if match is None:
        return _said(body) if _APEI_WORDS.match(body) or _APEI_DATA.match(body) else None
    key, value = match["key"], int(match["value"], 16 if match["value"].startswith("0x") else 10)
    memory: MemoryReport | None = None
    if key == "Physical Address":
        memory = MemoryReport(physical_address=value, page_frame=value >> 12)
    elif key == "Physical Address Mask":
        memory = MemoryReport(physical_address_mask=value)
    elif key == "Memory Error Type" and value < len(ERROR_TYPES):
        memory = MemoryReport(error=ERROR_TYPES[value])
    elif key == "Module Handle":
        memory = MemoryReport(module_handle=value)
    elif (place := _APEI_PLACES.get(key)) is not None:
        memory = MemoryReport(location=Location(label=None, **{place: value}))
    elif key == "Extended Row":
        return replace(_said(body), assumptions=(_MORE_ROW,) if value >> _ROW_BITS else ())
    elif key not in _APEI_SAID and not _APEI_WORDS.match(body):
        return None
    if memory is None:
        return _said(body)
    return Fragment(Format.FREEBSD, key, memory=memory, claims=((ClaimKind.FIRMWARE, body),), needs="APEI")


def read(body: str, inside: bool) -> Fragment | None:
    """The fragment that a line of FreeBSD's report is, or None."""
    body = body.strip()
    if match := _BANK.match(body):
        registers = RegisterValues(status=int(match["status"], 16))
        return Fragment(Format.FREEBSD, "head", opens=True, values=Values(bank=int(match["bank"])), registers=registers)
    if match := _GLOBAL.match(body):
        registers = RegisterValues(mcg_cap=int(match["cap"], 16), mcg_status=int(match["status"], 16))
        return Fragment(Format.FREEBSD, "global", registers=registers)
    if match := _VENDOR.match(body):
        values = Values(cpuid=int(match["cpuid"], 16))
        if int(match["apic"]) < 1 << 32:
            values["apicid"] = int(match["apic"])
        if (vendor := vendor_of(match["vendor"])) is not None:
            values["vendor"] = vendor
        return Fragment(Format.FREEBSD, "vendor", values=values)
    if match := _CPU.match(body):
        return _cpu(match)
    if match := _ADDRESS.match(body):
        claims = ((ClaimKind.OTHER, match["mode"].strip()),) if match["mode"] else ()
        return Fragment(Format.FREEBSD, "addr", registers=RegisterValues(addr=int(match["addr"], 16)), claims=claims)
    if match := _MISC.match(body):
        return Fragment(Format.FREEBSD, "misc", registers=RegisterValues(misc=int(match["misc"], 16)))
    if match := _APEI.match(body):
        return _apei(match)
    if _KNOWN.match(body) or _APEI_PANIC.match(body):
        return Fragment(Format.FREEBSD, "known")
    return _apei_field(body) if inside else None


INSIDE_LINES: Final = 2
"""The lines of a firmware report directly follow each other; the text of an FRU may run into the next one."""

GRAMMAR = Grammar(
    format=Format.FREEBSD,
    tokens=("MCA: ", "APEI "),
    evidence_tokens=("MCA: Bank ", "MCA: Global Cap", "MCA: Address 0x"),
    read=read,
    inside_lines=INSIDE_LINES,
)
