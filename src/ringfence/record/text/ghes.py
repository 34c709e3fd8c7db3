"""The kernel's print of what firmware reports: GHES at run time, BERT after a reboot (UEFI CPER sections as text).

Facts from Linux drivers/firmware/efi/cper.c and cper-x86.c (cper_estatus_print), drivers/acpi/apei/ghes.c and bert.c,
Documentation/firmware-guide/acpi/apei/output_format.rst, and UEFI 2.10 appendix N (N.2.4.2 IA32/X64 processor, N.2.5
memory). One event has a head, a severity, and sections; each section is an error of its own with its own severity, and
becomes a record. The event's severity is that of its worst section, so it stays a claim.

Before Linux 4.x a section began with ``section: 0, severity: 2, corrected`` instead of ``Error 0, type: corrected``.
"""

from __future__ import annotations

import re
from typing import Final

from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Delivery, Format, Location, MemoryReport
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Values

_PREFIX = re.compile(r"(?:\{\d{1,9}\})?(?:\[Hardware Error\]:)?\s*")
_SOURCE = re.compile(r"Hardware error from APEI Generic Hardware Error Source: ?(?P<source>\d{1,5})$")
_BERT = re.compile(r"BERT: Error records from previous boot:\s*(?P<rest>.{0,400})$")
_SKIPPED = re.compile(r"Skipped \d{1,6} error records$")
_OLD_HEAD = re.compile(r"APEI generic hardware error status$")
_EVENT = re.compile(r"event severity: (?P<severity>recoverable|fatal|corrected|info|unknown)$")
_OLD_EVENT = re.compile(r"severity: [0-3], (?P<severity>recoverable|fatal|corrected|info)$")
_SECTION = re.compile(
    r"(?:Error \d{1,4}, type: |section: \d{1,4}, severity: \d, )(?P<severity>recoverable|fatal|corrected|info|unknown)$"
)
_TYPE = re.compile(r"section[_ ]type: (?P<type>.{1,100})$")
_APIC = re.compile(r"Local[ _]APIC_ID:? 0x(?P<apic>[0-9a-f]{1,8})\b")
_PHYSICAL = re.compile(r"physical_address: 0x(?P<address>[0-9a-f]{1,16})$")
_MASK = re.compile(r"physical_address_mask: 0x(?P<mask>[0-9a-f]{1,16})$")
_ERROR_TYPE = re.compile(r"error_type: \d{1,3}, (?P<error>.{1,60})$")
_PLACES = re.compile(r"(?:[a-z_]{3,16}: ?(?:0x[0-9a-f]{1,16}|\d{1,10})(?: +|$))+$")
_PLACE = re.compile(r"(?P<key>[a-z_]{3,16}): ?(?P<value>0x[0-9a-f]{1,16}|\d{1,10})(?= |$)")
_PLACE_NAMES: Final = {
    "node": "node",
    "card": "card",
    "module": "module",
    "rank": "rank",
    "bank": "bank",
    "bank_group": "bank_group",
    "bank_address": "bank",
    "device": "device",
    "row": "row",
    "column": "column",
}
"""The kernel's word to the location's part; card and module are firmware's (UEFI 2.10 N.2.5), not channel and slot."""
_OTHER_PLACES: Final = frozenset({"bit_position", "requestor_id", "responder_id", "target_id", "chip_id"})
_DIMM = re.compile(r"DIMM location: (?P<label>(?!not present)\S.{0,80}?)$")
_HANDLE = re.compile(r"DIMM location: not present\. DMI handle: 0x(?P<handle>[0-9a-f]{4,8})$")
"""How the kernel says that a section has a module handle and its copy of the SMBIOS table no name for it."""
_IP = re.compile(r"(?:Instruction Pointer|IP): 0x(?P<ip>[0-9a-f]{1,16})$")
_MSR = re.compile(r"MSR Address: 0x(?P<msr>[0-9a-f]{8,16})$")
_CPUID = re.compile(r"CPUID Info:$")
_DUMP_32 = re.compile(r"(?P<offset>[0-9a-f]{8}): (?P<words>[0-9a-f]{8}(?: [0-9a-f]{8}){0,3})(?:  .{0,16})?$")
_DUMP_64 = re.compile(r"(?P<offset>[0-9a-f]{8}): (?P<words>[0-9a-f]{16}(?: [0-9a-f]{16})?)$")

_SAID = re.compile(
    r"(?:flags: 0x|primary|fru_id: |fru_text: |error_status: |(?:im)?precise tstamp: "
    r"|DIMM location: not present|Error Structure Type: |Check Information: 0x|Transaction Type: |Operation: |Level: \d"
    r"|Processor Context Corrupt: |Uncorrected: |Precise IP: |Restartable IP: |Overflow: |Participation Type: "
    r"|Time Out: |Address Space: |Error Type: |Target Identifier: |Requestor Identifier: |Responder Identifier: "
    r"|Register Context Type: |processor_type: |processor_isa: |operation: |level: \d|version_info: |processor_id: "
    r"|target_address: |requestor_id: |responder_id: |error_type: 0x|(?:cache|TLB|bus|micro-architectural) error"
    r"|Firmware Error Record Type: |Record Identifier: |port_type: |version: \d|command: 0x|device_id: |vendor_id: "
    r"|aer_\w+: |TLP Header: |section length is too small|valid bits set for fields)"
)
_KNOWN = re.compile(
    r"(?:Error Information Structure \d|Context Information Structure \d|Register Array(?: Size)?:"
    r"|MM Register Address: |It has been corrected by h/w|slot: \d"
    r"|secondary_bus: |class_code: |serial number: |bridge: |section length: |Revision: \d|BERT: Total records"
    r"|Total records found|corrected, restartable|restartable|precise IP|overflow$|corrected$)"
)

_SEVERITIES: Final = {
    "corrected": ClaimedSeverity.CORRECTED,
    "recoverable": ClaimedSeverity.RECOVERABLE,
    "fatal": ClaimedSeverity.FATAL,
    "info": ClaimedSeverity.INFORMATIONAL,
}
SMCA_MSR_BASE: Final = 0xC000_2000
"""MCA_CTL of bank 0; a bank has 16 MSRs (PPR 57254, MSRC000_2000; Linux MSR_AMD64_SMCA_MC0_CTL)."""
_SMCA_BANKS: Final = 256
_SMCA_STATUS: Final = 1
_SMCA_ORDER: Final = ("status", "addr", "misc", "config", "ipid", "synd", None, "destat", "deaddr")
"""An SMCA bank's MSRs from MCA_STATUS on; the seventh is reserved (PPR 57254; Linux apei.c takes the first six)."""
_CLFLUSH_64 = 0x08


def _fragment(part: str, *claims: tuple[ClaimKind, str], repeats: bool = False) -> Fragment:
    return Fragment(Format.GHES, part, claims=claims, repeats=repeats, may_open=not repeats)


def _head(body: str) -> Fragment | None:
    if (match := _SOURCE.match(body)) is not None:
        claims = ((ClaimKind.FIRMWARE, f"generic hardware error source {match['source']}"),)
        return Fragment(Format.GHES, "context", values=Values(delivery=Delivery.FIRMWARE), claims=claims)
    if _OLD_HEAD.match(body):
        return Fragment(Format.GHES, "known")
    if match := _SKIPPED.search(body):
        return _fragment("skipped", (ClaimKind.FIRMWARE, match[0]))
    if (match := _BERT.match(body)) is None:
        return None
    if not match["rest"]:
        claims = ((ClaimKind.FIRMWARE, "error record of the previous boot (BERT)"),)
        return Fragment(Format.GHES, "context", values=Values(delivery=Delivery.FIRMWARE), claims=claims)
    return _one_line(match["rest"])


def _one_line(text: str) -> Fragment:
    """A BERT report whose lines someone joined into one."""
    values = Values(delivery=Delivery.FIRMWARE)
    if apic := _APIC.search(text):
        values["apicid"] = int(apic["apic"], 16)
    severity = re.search(r"severity: (recoverable|fatal|corrected|info)\b", text)
    kind = re.search(r"\b(?:(?:IA32/X64|general|ARM) processor|memory|PCIe|firmware) error\b", text)
    return Fragment(
        Format.GHES,
        "section",
        opens=True,
        values=values,
        memory=MemoryReport(severity=_SEVERITIES[severity[1]], error=kind[0] if kind else None) if severity else None,
        claims=(
            (ClaimKind.FIRMWARE, "error record of the previous boot (BERT)"),
            (ClaimKind.FIRMWARE, text.strip(" ,")),
        ),
    )


def _section(body: str, inside: bool) -> Fragment | None:
    if match := _SECTION.match(body):
        severity = _SEVERITIES.get(match["severity"])
        return Fragment(
            Format.GHES,
            "section",
            opens=True,
            values=Values(delivery=Delivery.FIRMWARE),
            claims=((ClaimKind.SEVERITY, f"section: {match['severity']}"),),
            memory=MemoryReport(severity=severity) if severity is not None else None,
        )
    if (match := _EVENT.match(body)) or (inside and (match := _OLD_EVENT.match(body))):
        # It ends the event before, and waits for the first section of its own.
        return Fragment(Format.GHES, "boundary", claims=((ClaimKind.SEVERITY, f"event: {match['severity']}"),))
    if match := _TYPE.match(body):
        kind = match["type"].strip()
        memory = None if kind == "memory error" else MemoryReport(error=kind)
        return Fragment(
            Format.GHES, "type", memory=memory, claims=((ClaimKind.FIRMWARE, f"section_type: {kind}"),), may_open=True
        )
    return None


def _memory(body: str) -> Fragment | None:
    if match := _PHYSICAL.match(body):
        address = int(match["address"], 16)
        report = MemoryReport(physical_address=address, page_frame=address >> 12)
        return Fragment(Format.GHES, "address", memory=report, may_open=True)
    if match := _MASK.match(body):
        return Fragment(Format.GHES, "mask", memory=MemoryReport(physical_address_mask=int(match["mask"], 16)))
    if match := _ERROR_TYPE.match(body):
        return Fragment(Format.GHES, "error type", memory=MemoryReport(error=match["error"].strip()))
    if match := _DIMM.match(body):
        return Fragment(Format.GHES, "label", memory=MemoryReport(location=Location(label=match["label"])))
    if match := _HANDLE.match(body):
        claims = ((ClaimKind.FIRMWARE, body),)
        return Fragment(
            Format.GHES, "label", memory=MemoryReport(module_handle=int(match["handle"], 16)), claims=claims
        )
    if _PLACES.match(body):
        return _places(body)
    return None


def _places(body: str) -> Fragment | None:
    """``node:0 card:1 module:2 rank:0 ...``, on one line or (before Linux 3.13) one a line."""
    found: dict[str, int] = {}
    keys = [match["key"] for match in _PLACE.finditer(body)]
    if not keys or any(key not in _PLACE_NAMES and key not in _OTHER_PLACES for key in keys):
        return None
    for match in _PLACE.finditer(body):
        name, text = _PLACE_NAMES.get(match["key"]), match["value"]
        if name is not None and not text.startswith("0x"):
            found.setdefault(name, int(text))
    return Fragment(
        Format.GHES,
        f"place {keys[0]}",
        memory=MemoryReport(location=Location(label=None, **found)) if found else None,
        claims=((ClaimKind.FIRMWARE, body.strip()),),
    )


def _processor(body: str) -> Fragment | None:
    if match := _APIC.match(body):
        return Fragment(Format.GHES, "apic", values=Values(apicid=int(match["apic"], 16)))
    if match := _IP.match(body):
        return Fragment(Format.GHES, "ip", registers=RegisterValues(ip=int(match["ip"], 16)))
    if _CPUID.match(body):
        return Fragment(Format.GHES, "CPUID dump")
    if match := _MSR.match(body):
        offset = int(match["msr"], 16) - SMCA_MSR_BASE
        bank, register = divmod(offset, 16)
        if 0 <= bank < _SMCA_BANKS and register == _SMCA_STATUS:
            return Fragment(Format.GHES, "SMCA dump", values=Values(bank=bank))
        return _fragment("says", (ClaimKind.FIRMWARE, body), repeats=True)
    return None


def _dump(body: str) -> Fragment | None:
    """A line of a hex dump. It is read only where the line before the dump said what is dumped."""
    if match := _DUMP_64.match(body):
        index = int(match["offset"], 16) // 8
        registers = RegisterValues()
        for name, word in zip(_SMCA_ORDER[index : index + 2], match["words"].split(), strict=False):
            if name is not None:
                registers[name] = int(word, 16)  # type: ignore[literal-required] # the table's values are its keys
        if not registers or int(match["offset"], 16) % 16:
            return Fragment(Format.GHES, "known")
        return Fragment(Format.GHES, f"SMCA {index}", registers=registers, needs="SMCA dump")
    if match := _DUMP_32.match(body):
        words = [int(word, 16) for word in match["words"].split()]
        # CPUID.1 EAX and EBX, each extended to 64 bits (UEFI 2.10 N.2.4.2). Other dumps have the same form: this one
        # has empty upper halves and the size of a CLFLUSH line, 64 bytes, in EBX[15:8].
        if (
            int(match["offset"], 16) == 0
            and len(words) == 4
            and words[0]
            and not words[0] >> 28
            and (words[1], words[3]) == (0, 0)
            and words[2] >> 8 & 0xFF == _CLFLUSH_64
        ):
            return Fragment(Format.GHES, "CPUID", values=Values(cpuid=words[0]), needs="CPUID dump")
        return Fragment(Format.GHES, "known")
    return None


def read(body: str, inside: bool) -> Fragment | None:
    """The fragment that a line of a firmware error report is, or None."""
    prefix = _PREFIX.match(body)
    body = (body[prefix.end() :] if prefix is not None else body).strip()
    if (found := _head(body) or _section(body, inside)) is not None:
        return found
    if (found := _memory(body) if inside or body.startswith("physical_address") else None) is not None:
        return found
    if not inside:
        return None
    if (found := _processor(body) or _dump(body)) is not None:
        return found
    if _SAID.match(body):
        return _fragment("says", (ClaimKind.FIRMWARE, body.strip(" ,")), repeats=True)
    return Fragment(Format.GHES, "known") if _KNOWN.match(body) else None


INSIDE_LINES: Final = 4
"""A report's own lines directly follow each other; another CPU's lines may stand between."""

GRAMMAR = Grammar(
    format=Format.GHES,
    tokens=("APEI Generic Hardware Error", "APEI generic hardware error", "BERT: Error records", "error records",
            "event severity: ", ", type: ", "section: ", "section_type: ", "section type: ", "physical_address"),
    evidence_tokens=("APEI Generic Hardware Error Source:", "BERT: Error records", "section_type: "),
    read=read,
    inside_lines=INSIDE_LINES,
)  # fmt: skip
