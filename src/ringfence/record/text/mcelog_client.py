"""What ``mcelog --client`` says of the memory errors that the daemon has counted.

Facts from mcelog's memdb.c, page.c and leaky-bucket.c. A block names a DIMM, then gives for corrected and for
uncorrected errors a total since the daemon started and a number within the last period. A total is a count, not so many
records with a time: each nonzero total becomes one report that stands for that many errors.
"""

from __future__ import annotations

import re
from typing import Final

from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Format, Location, MemoryReport
from ringfence.record.text.grammar import Fragment, Grammar, Values

_DIMM = re.compile(
    r"SOCKET (?P<socket>\d{1,4}) CHANNEL (?P<channel>any|\d{1,4}) DIMM (?P<dimm>any|\d{1,4})(?P<rest> .{1,200})?$"
)
_KIND = re.compile(r"(?P<un>un)?corrected memory errors:$")
_TOTAL = re.compile(r"(?P<count>\d{1,10}) total$")
_PERIOD = re.compile(r"(?:\d{1,10} in \d{1,6}[smhd]|not enabled)(?: \(.{1,60}\))?$")
_PAGE = re.compile(
    r"(?P<address>[0-9a-f]{1,16}): total (?P<count>\d{1,10}) seen \"(?P<period>[^\"]{0,60})\" (?P<state>.{1,60})$"
)
_KNOWN = re.compile(r"Memory errors$|Per page corrected memory statistics:$|done$|pong$")
_LABEL = re.compile(r"DMI_(?:NAME|LOCATION) \".{1,200}\"$")
_ACCOUNTING: Final = "the count is mcelog's total since its start: no time and no registers of single errors"


def _number(text: str) -> int | None:
    return None if text == "any" else int(text)


def _dimm(match: re.Match[str]) -> Fragment:
    location = Location(socket=int(match["socket"]), channel=_number(match["channel"]), slot=_number(match["dimm"]))
    unknown = [name for name in ("channel", "dimm") if match[name] == "any"]
    # "any" is what memdb.c prints for -1: the hardware gave no channel or DIMM. It is not the sum over all of them.
    assumptions = (f"{' and '.join(unknown)} not determined ('any')",) if unknown else ()
    return Fragment(
        Format.MCELOG_CLIENT,
        "context",
        values=Values(socket=int(match["socket"])),
        memory=MemoryReport(location=location),
        assumptions=assumptions,
    )


def read(body: str, inside: bool) -> Fragment | None:
    """The fragment that a line of mcelog's memory accounting is, or None."""
    if match := _DIMM.match(body):
        return _dimm(match)
    if match := _KIND.match(body):
        severity = ClaimedSeverity.RECOVERABLE if match["un"] else ClaimedSeverity.CORRECTED
        return Fragment(
            Format.MCELOG_CLIENT,
            "kind",
            opens=True,
            memory=MemoryReport(severity=severity, error=body.rstrip(":")),
            claims=((ClaimKind.SEVERITY, body.rstrip(":")),),
            assumptions=(_ACCOUNTING,),
        )
    if match := _PAGE.match(body):
        address = int(match["address"], 16)
        return Fragment(
            Format.MCELOG_CLIENT,
            "page",
            opens=True,
            closes=True,
            values=Values(count=int(match["count"])),
            memory=MemoryReport(
                severity=ClaimedSeverity.CORRECTED,
                error="corrected memory errors on this page",
                physical_address=address,
                page_frame=address >> 12,
            ),
            claims=((ClaimKind.OTHER, body),),
            assumptions=(_ACCOUNTING,),
        )
    if not inside:
        return Fragment(Format.MCELOG_CLIENT, "known") if body == "Memory errors" else None
    if match := _TOTAL.match(body):
        return Fragment(
            Format.MCELOG_CLIENT, "total", values=Values(count=int(match["count"])), claims=((ClaimKind.OTHER, body),)
        )
    if _PERIOD.match(body):
        return Fragment(Format.MCELOG_CLIENT, "period", claims=((ClaimKind.OTHER, body),), repeats=True)
    if _LABEL.match(body):
        return Fragment(Format.MCELOG_CLIENT, "known")
    return Fragment(Format.MCELOG_CLIENT, "known") if _KNOWN.match(body) else None


INSIDE_LINES: Final = 4
"""A block's lines directly follow each other; the label line and an empty line may stand between."""

GRAMMAR = Grammar(
    format=Format.MCELOG_CLIENT,
    tokens=("SOCKET ", "corrected memory errors", ": total ", "Memory errors"),
    evidence_tokens=(),
    read=read,
    inside_lines=INSIDE_LINES,
)
