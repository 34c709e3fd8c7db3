"""EDAC's report of a memory error (drivers/edac/edac_mc.c, edac_mc_printk), new and old forms."""

from __future__ import annotations

import re

from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Format, Location, MemoryReport
from ringfence.record.text.grammar import Fragment, Grammar, Values

_NEW = re.compile(
    r"EDAC (?:\w+ )?MC(?P<mc>\d{1,4}): (?P<count>\d{1,9}) (?P<kind>CE|UE|Fatal|Deferred|DE|INFO)\b *(?P<what>.*)$"
)
_OLD = re.compile(r"EDAC (?:\w+ )?MC(?P<mc>\d{1,4}): (?P<kind>CE|UE) (?P<what>(?:page|row|channel|- no).*)$")
_BEFORE = re.compile(
    r"EDAC \w+ MC\d{1,4}: (?P<text>(?:extended error code|general bus error|(?:CE|UE) ERROR_ADDRESS).{0,300})$"
)
_IGNORED = re.compile(
    r"EDAC (?:MC: |MC\d+: Giving out|DEBUG|\w+: (?:Seeking|Ver|v\d)|MC: Ver|PCI\d*: Giving|amd64: |PND2|"
    r"\w+ MC\d+: HANDLING|igen6|skx: |sbridge: |i10nm: |ie31200)"
)
_WHAT = re.compile(r"(?P<error>.*?)(?: ?\bon (?P<label>\S.*?))? ?(?:\((?P<detail>[^()]*)\))?$")
_ITEM = re.compile(r"(?<![a-z_])(?P<key>[a-z_]{1,16})[: ]\s*(?:0x)?(?P<value>[0-9a-fA-F:]+)(?=[\s,)]|$)")
_HANDLE = re.compile(r"\bDMI handle: 0x(?P<handle>[0-9a-f]{4,8})\b")
_SEVERITIES = {
    "CE": ClaimedSeverity.CORRECTED,
    "UE": ClaimedSeverity.RECOVERABLE,
    "Fatal": ClaimedSeverity.FATAL,
    "Deferred": ClaimedSeverity.DEFERRED,
    "DE": ClaimedSeverity.DEFERRED,
    "INFO": ClaimedSeverity.INFORMATIONAL,
}
_DECIMAL = {"channel": "channel", "slot": "slot", "socket": "socket", "imc": "controller", "ha": "controller",
            "rank": "rank", "bg": "bank_group", "ba": "bank", "csrow": "csrow"}  # fmt: skip
_HEX = {"row": "row", "col": "column", "syndrome": "syndrome"}
_COMPONENT = re.compile(r"(?<!\w)(?P<key>[A-Z][A-Za-z]{1,23}):0x(?P<value>[0-9a-f]{1,16})(?!\w)")
_COMPONENTS = {"ProcessorSocketId": "socket", "MemoryControllerId": "controller", "ChannelId": "channel",
               "DimmSlotId": "slot", "PhysicalRankId": "rank", "BankGroup": "bank_group", "Bank": "bank", "Row": "row",
               "Column": "column"}  # fmt: skip
"""What skx_edac and i10nm_edac print since Linux 5.0, by their own decoder or by firmware's (skx_common.c: ADXL)."""
PAGE_BYTES = 4096
"""EDAC's ``page`` and ``offset`` are a frame of PAGE_SIZE and the offset within; on x86 that is 4 KiB."""


def _value(text: str, radix: int) -> int | None:
    try:
        value = int(text, radix)
    except ValueError:
        return None
    return value if value < 1 << 64 else None


def module_handle(detail: str) -> int | None:
    """The SMBIOS handle that ghes_edac gives in its detail where the kernel cannot name the DIMM, None without one.

    Linux drivers/firmware/efi/cper.c, cper_dimm_err_location; in older kernels ghes_edac.c itself ("DIMM DMI handle").
    """
    match = _HANDLE.search(detail)
    return int(match["handle"], 16) if match is not None else None


def _controller(match: re.Match[str], places: dict[str, int]) -> dict[str, int]:
    """EDAC's own number, where the driver gives a place but names neither socket nor controller."""
    if not places or places.keys() & {"socket", "controller"}:
        return {}
    return {"controller": int(match["mc"])}


def _components(detail: str) -> dict[str, int]:
    """The place as the decoders of addresses name it."""
    found = ((item["key"], item["value"]) for item in _COMPONENT.finditer(detail))
    return {_COMPONENTS[key]: int(value, 16) for key, value in found if key in _COMPONENTS}


def _report(match: re.Match[str], old: bool) -> MemoryReport:
    what = _WHAT.match(match["what"])
    error, label, detail = (what["error"], what["label"], what["detail"]) if what else (match["what"], None, None)
    if old:
        detail, error, label = match["what"], None, None
        if (quoted := re.search(r'label "([^"]{1,64})"', detail)) is not None:
            label = quoted[1]
    places: dict[str, int] = {}
    page = offset = grain = None
    for item in _ITEM.finditer(detail or ""):
        key, text = item["key"], item["value"]
        if key in _DECIMAL:
            if (number := _value(text, 10)) is not None:
                places[_DECIMAL[key]] = number
        elif old and key == "row":
            # The row of the old k8/i5000 print is a chip-select row (edac_mc_handle_ce), not a DRAM row.
            if (number := _value(text, 10)) is not None:
                places["csrow"] = number
        elif key in _HEX:
            if (number := _value(text, 16)) is not None:
                places[_HEX[key]] = number
        elif key == "page":
            page = _value(text, 16)
        elif key == "offset":
            offset = _value(text, 16)
        elif key == "grain":
            grain = _value(text, 10)
    places = _components(detail or "") | places
    # page 0 with offset 0 is what drivers pass that know no address (edac_mc_handle_error's callers).
    known = page is not None and (page or offset)
    return MemoryReport(
        severity=_SEVERITIES[match["kind"]],
        error=(error or "").strip() or None,
        location=Location(label=label, **_controller(match, places), **places),
        physical_address=(page * PAGE_BYTES + (offset or 0)) if known and page is not None else None,
        grain_bytes=(grain if offset is not None else PAGE_BYTES) if known else None,
        page_frame=page if known else None,
        module_handle=module_handle(match["what"]),
    )


def read(body: str, inside: bool) -> Fragment | None:  # noqa: ARG001 (every line of this format can be told alone)
    """The fragment that a line of EDAC is, or None."""
    match, old = _NEW.match(body), False
    if match is None:
        match, old = _OLD.match(body), True
    if match is not None:
        count = 1 if old else max(1, int(match["count"]))
        return Fragment(
            Format.EDAC,
            "edac",
            opens=True,
            closes=True,
            values=Values(count=count),
            memory=_report(match, old),
            claims=((ClaimKind.EDAC, body),),
        )
    if match := _BEFORE.match(body):
        return Fragment(Format.EDAC, "before", claims=((ClaimKind.EDAC, match["text"]),))
    if _IGNORED.match(body):
        return Fragment(Format.EDAC, "known")
    return None


GRAMMAR = Grammar(format=Format.EDAC, tokens=("EDAC ",), evidence_tokens=(), read=read)
