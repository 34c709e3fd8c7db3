"""AMD machine checks as the kernel's decoder prints them (drivers/edac/mce_amd.c), K8 to Zen 5."""

from __future__ import annotations

import re
from contextlib import suppress

from ringfence.arch.cpuid import Vendor, eax, parse_family_model_stepping
from ringfence.record.evidence import ClaimKind, Format
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Values

_HEAD = re.compile(
    r"(?:CPU:(?P<cpu>\d{1,6})(?: \((?P<signature>[0-9a-f]{1,3}:[0-9a-f]{1,3}:[0-9a-f]{1,2})\))?\s+)?"
    r"MC(?P<bank>\d{1,3})_STATUS(?:\[(?P<flags>[^\]]{0,120})\]:?|:)? *(?:0x)?"
    r"(?P<status>[0-9a-fA-F]{1,16})(?!\w)(?P<more>.*)$"
)
_ADDRESS = re.compile(r"(?:Error Addr|MC\d{1,3}_ADDR): *(?:0x)?(?P<addr>[0-9a-fA-F]{1,16})$")
_SMCA = re.compile(r"(?:(?:IPID|Syndrome|PPIN|SYND[12]?): *0x[0-9a-fA-F]{1,16}(?:, )?)+$")
_SMCA_PAIR = re.compile(r"(IPID|Syndrome|PPIN|SYND[12]?): *0x([0-9a-fA-F]{1,16})")
_SMCA_NAMES = {"IPID": "ipid", "Syndrome": "synd", "PPIN": "ppin", "SYND1": "synd1", "SYND2": "synd2"}
_SEVERITY = re.compile(
    r"(?:Error Status: )?(?P<text>(?:Corrected error, no action required|Deferred error, no action required|"
    r"Uncorrected, software (?:restartable|containable) error|Uncorrected error|System Fatal error|"
    r"Machine check error)[^:]*)\.?$"
)
_UNIT_CODE = re.compile(r"(?P<text>[A-Z][\w ,.()/-]{2,60} Ext\. Error Code: \d{1,3}.{0,120})$")
_LEVEL = re.compile(r"(?P<text>cache level: .{1,120})$")
_OLD_UNIT = re.compile(
    r"(?P<text>(?:MC(?P<bank>\d{1,2}) Error(?: \(node (?P<node>\d{1,4})\))?|"
    r"(?:Northbridge|Data Cache|Instruction Cache|Bus Unit|Combined Unit|Load Store|Load-Store|Execution Unit|FIROB|"
    r"Floating Point Unit) Error(?: \(node (?P<node2>\d{1,4})\))?)(?!\w).{0,160})$"
)
_IGNORED = re.compile(r"Message from syslogd@|Bank \d+ is reserved|Decoding supported only on|Corrupted \w+ MCE info")


def _head(match: re.Match[str]) -> Fragment:
    values = Values(bank=int(match["bank"]), vendor=Vendor.AMD)
    if match["cpu"]:
        values["cpu"] = int(match["cpu"])
    if match["signature"]:
        # A damaged line can show a signature that no processor has: it stays in the raw text, and is not used.
        with suppress(ValueError):
            values["cpuid"] = eax(parse_family_model_stepping(Vendor.AMD, match["signature"]))
    more = match["more"].strip()
    return Fragment(
        Format.AMD_DECODED,
        "head",
        opens=True,
        values=values,
        registers=RegisterValues(status=int(match["status"], 16)),
        claims=((ClaimKind.OTHER, more),) if more else (),
    )


def read(body: str, inside: bool) -> Fragment | None:  # noqa: ARG001 (every line of this format can be told alone)
    """The fragment that a line of the decoder's print is, or None."""
    if match := _HEAD.match(body):
        return _head(match)
    if match := _ADDRESS.match(body):
        return Fragment(Format.AMD_DECODED, "addr", registers=RegisterValues(addr=int(match["addr"], 16)))
    if _SMCA.match(body):
        registers = RegisterValues()
        for name, value in _SMCA_PAIR.findall(body):
            registers[_SMCA_NAMES[name]] = int(value, 16)  # type: ignore[literal-required] # the table's values are its keys
        # The PPIN stands on a line of its own before the IPID's, the older print's SYND1 and the like behind it.
        part = "smca" if "ipid" in registers or "synd" in registers else next(iter(registers))
        return Fragment(Format.AMD_DECODED, part, registers=registers)
    if match := _LEVEL.match(body):
        return Fragment(Format.AMD_DECODED, "level", closes=True, claims=((ClaimKind.ERROR, match["text"]),))
    if match := _SEVERITY.match(body):
        return Fragment(Format.AMD_DECODED, "severity", claims=((ClaimKind.SEVERITY, match["text"]),))
    if match := _OLD_UNIT.match(body):
        values = Values()
        if (node := match["node"] or match["node2"]) is not None:
            values["node"] = int(node)
        return Fragment(Format.AMD_DECODED, "unit", values=values, claims=((ClaimKind.ERROR, match["text"]),))
    if match := _UNIT_CODE.match(body):
        return Fragment(Format.AMD_DECODED, "code", claims=((ClaimKind.ERROR, match["text"]),))
    if _IGNORED.match(body):
        return Fragment(Format.AMD_DECODED, "known")
    return None


GRAMMAR = Grammar(
    format=Format.AMD_DECODED,
    tokens=(
        "_STATUS",
        "Error Addr: ",
        "_ADDR: ",
        "IPID: ",
        "Syndrome: ",
        "PPIN: ",
        "Ext. Error Code",
        "cache level: ",
        "error, no action required",
        "Error Status: ",
        "Error (node",
        "Hardware Error",
        "software restartable",
        "software containable",
        "System Fatal error",
        "Unit Error",
        "Cache Error",
        "Store Error",
    ),
    evidence_tokens=("_STATUS[",),
    read=read,
)
