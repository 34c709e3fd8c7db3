"""FreeBSD's report of a machine check: six lines that begin with ``MCA:`` (sys/x86/x86/mca.c, mca_log).

DragonFly BSD and MidnightBSD print the same. CPU and APIC ID are decimal, all registers have ``0x``.
"""

from __future__ import annotations

import re

from ringfence.arch.cpuid import vendor_of
from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Format, Location, MemoryReport
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


def read(body: str, inside: bool) -> Fragment | None:  # noqa: ARG001 (every line of this format can be told alone)
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
    if _KNOWN.match(body):
        return Fragment(Format.FREEBSD, "known")
    return None


GRAMMAR = Grammar(
    format=Format.FREEBSD,
    tokens=("MCA: ",),
    evidence_tokens=("MCA: Bank ", "MCA: Global Cap", "MCA: Address 0x"),
    read=read,
)
