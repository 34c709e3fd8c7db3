"""What mcelog prints for one machine check (``dump_mce``), in a log file, in syslog or on a terminal, of every version.

Facts from mcelog's own sources (mcelog.c, k8.c, p4.c, intel.c, mcelog.h) and from logs of its versions 0.7 to 210. A
record has no end mark: it lasts until the next ``CPU n ...`` line, or the announcement of the next record. Its lines
come in one order, but copies lose the first ones, so most lines may open a record. The decoded lines are what mcelog
thinks, and are kept as claims: the registers are decoded anew.

All numbers are hexadecimal without ``0x``, but for CPU, BANK and TIME. ``--raw`` prints one register a line, with
``0x``, and there SOCKETID and APICID are decimal.
"""

from __future__ import annotations

import re
from typing import Final

from ringfence.arch import cpuid
from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.record.evidence import ClaimKind, Format
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Values

EXTENDED_BANK: Final = 128
"""Banks from here on are events of Linux's own, not of the hardware (MCE_EXTENDED_BANK, mcelog.h)."""
_NAMED_BANKS: Final = {
    "THERMAL EVENT": EXTENDED_BANK,
    "Timeout waiting for exception on other CPUs": EXTENDED_BANK + 90,
    "ACPI/APEI reported error": 255,
}
_UNITS: Final = (
    "data cache",
    "instruction cache",
    "bus unit",
    "load/store unit",
    "northbridge",
    "fixed-issue reoder",
    "unknown",
    "Unknown threshold counter",
    "MC4_MISC0 DRAM threshold",
    "MC4_MISC1 Link threshold",
    "MC4_MISC2 L3 Cache threshold",
    "MC4_MISC3 FBDIMM threshold",
)
"""How mcelog names an AMD bank, after its number (k8.c; the misspelling is the program's)."""

_H = r"(?:0x)?([0-9a-fA-F]{1,16})"
_BOUNDARY = re.compile(
    r"HARDWARE ERROR\. This is \*NOT\* a software problem|Hardware event\. This is not a software error|MCE \d{1,9}$"
)
_CPU = re.compile(
    r"CPU (?P<cpu>\d{1,6}) (?:BANK (?P<bank>\d{1,3})"
    rf"|(?P<named>{'|'.join(map(re.escape, _NAMED_BANKS))})"
    r"|Undecoded extended event (?P<extended>[0-9a-f]{1,2})"
    rf"|(?P<k8bank>\d{{1,3}}) (?P<unit>{'|'.join(map(re.escape, _UNITS))}))(?P<rest>(?: .*)?)$"
)
_CPU_REST = re.compile(rf" +(?:(TSC|MISC|ADDR) {_H}(?=\s|$)(?: \[at [^\[\]]{{0,80}}\])?|$)")
_RAW_CPU = re.compile(r"CPU (\d{1,6})$")
_RAW_BANK = re.compile(r"BANK (\d{1,3})$")
_RIP = re.compile(r"RIP(?P<inexact> !INEXACT!)? (?:0x)?(?P<cs>[0-9a-f]{1,4}):(?:0x)?(?P<ip>[0-9a-f]{1,16})$")
_SYMBOL = re.compile(r"RIP: (?P<symbol>\S{1,120})$")
_PLACE = re.compile(rf"(?:MISC {_H})?(?: ?ADDR {_H})?$")
_TIME = re.compile(r"TIME (?P<time>\d{1,12})(?P<date> [A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} .{0,40})?$")
_STATUS = re.compile(rf"STATUS {_H}(?: MCGSTATUS {_H})?$")
_LONE_STATUS = re.compile(r"STATUS (?:0x[0-9a-fA-F]{1,16}|[0-9a-fA-F]{15,16})$")
_CAPABILITY = re.compile(
    r"(?=MCGCAP|APICID|SOCKETID)(?:MCGCAP (?P<cap>[0-9a-f]{1,16})\b ?)?(?:APICID (?P<apic>[0-9a-f]{1,8})\b ?)?"
    r"(?:SOCKETID (?P<socket>[0-9a-f]{1,4}) ?)?$"
)
_RAW_LINE = re.compile(r"(?P<key>TSC|MCGSTATUS|MCGCAP) (?P<value>0x[0-9a-f]{1,16}|0)$")
_RAW_PROCESSOR = re.compile(r"PROCESSOR (?P<vendor>\d{1,3}):0x(?P<cpuid>[0-9a-f]{1,8})$")
_PPIN = re.compile(r"PPIN ([0-9a-f]{1,16})$")
_MICROCODE = re.compile(r"MICROCODE ([0-9a-f]{1,8})$")
_CPUID = re.compile(
    r"CPUID Vendor (?P<vendor>[A-Za-z]+(?: \w+)?) Family (?P<family>\d{1,3}) Model (?P<model>\d{1,3})"
    r"(?: Step(?:ping)? (?P<stepping>\d{1,2}))?$"
)
_MCG = re.compile(r"MCG status: ?(?P<bits>(?:(?:RIPV|EIPV|MCIP|LMCE) ?)*)$")

_SEVERITY = re.compile(
    r"(?:Uncorrected error|Corrected error(?: by .{1,60})?|Error overflow|Processor context corrupt"
    r"|UCNA|AR|SRAO|SRAR|Machine check not valid|Firmware may have updated this error"
    r"|corrected filtering \(.{1,60}\)|Threshold based error status: .{1,60}|\(Fields were incomplete\))$"
)
_MCA = re.compile(r"MCA: (?P<text>.{1,200})$")
_DECODED = re.compile(
    # Intel: p4.c, and the model-specific files
    r"(?:Transaction: |MemCtrl: |Memory as cache: |(?:QPI|UPI|PCU|M2M|B2CMI|HBM|MCCHAN|Punit|CBB Punit|CHA|UBOX|Ubox)\b"
    r"|IMH\d MCCHAN: |IMH\d Punit: |BUS error: |Internal |Unknown Error |IO MCA reported by |Model:|BQ_"
    r"|Memory (?:corrected error count|transaction Tracker|DIMM ID|channel ID|ECC syndrome|read|write|error)"
    r"|(?:Instruction|Data|Generic) (?:CACHE|TLB)|bank: 0x|failed device: 0x|rank: 0x|chipselect: 0x|ecc mode: "
    r"|MISC format |Mscod|timeout BINIT|failure that caused IERR|Processor \d{1,6} (?:heated|below)|Please check your "
    # AMD K8: k8.c
    r"|Northbridge |(?:Chipkill )?ECC syndrome = |bit\d{2} = |link number = |bus error '|memory/cache error '"
    r"|TLB (?:error '|parity error)|generic .{3,20} mem transaction|(?:data|instruction) .{3,16} mem transaction"
    r"|(?:memory|i/o|generic|res\.) access, level |Data cache ECC error|Instruction cache ECC error|L2 cache ECC error"
    r"|Threshold error count overflow|no decoder for unknown bank|.{1,40} array error$).{0,300}"
)
_KNOWN_INSIDE = re.compile(r"MCi status:$|Error enabled$|MCi_(?:MISC|ADDR) register valid$|M[Ci]+ status:?$")
_KNOWN = re.compile(
    r"Please contact your hardware vendor$|Running trigger `|Trigger `[^']{1,80}' (?:exited|died)"
    r"|(?:mcelog: )?(?:[Ff]ailed to prefill DIMM database|Family \d+ Model [0-9a-f]+ CPU: only decoding"
    r"|Kernel does not support page offline|Unknown (?:Intel )?CPU type|Cannot open /dev/mem for DMI"
    r"|mcelog (?:server|read): |warning: \d+ bytes ignored in each record|consider an update$"
    r"|ERROR: (?:AMD|Hygon) Processor family|Round up max-corr-err|Too many trigger children)"
)
_OFFLINING = re.compile(
    r"(?:Offlining page [0-9a-f]{1,16}|Soft offlining of page [0-9a-f]{1,16} failed|Corrected memory errors on page "
    r"[0-9a-f]{1,16} exceed|(?:Fallback |(?:un)?corrected )?\S{0,20} ?memory error count exceeded threshold"
    r"|Location SOCKET:\d|.{1,40} has large number of corrected cache errors"
    r"|.{1,40} received (?:Bus and|IO MCA|unknown)).{0,200}$"
)

_ORDERED_PARTS: Final = {"TSC": "tsc", "MISC": "misc", "ADDR": "addr"}
_VENDORS: Final = {"Intel": Vendor.INTEL, "AMD": Vendor.AMD, "Centaur": Vendor.CENTAUR, "Hygon": Vendor.HYGON}
_LAST_FULL_FAMILY: Final = 15


def _cpu(body: str) -> Fragment | None:
    match = _CPU.match(body)
    if match is None:
        return None
    values, registers = Values(cpu=int(match["cpu"])), RegisterValues()
    claims: tuple[tuple[ClaimKind, str], ...] = ()
    if match["named"]:
        values["bank"] = _NAMED_BANKS[match["named"]]
        claims = ((ClaimKind.ERROR, match["named"]),)
    elif match["extended"]:
        values["bank"] = int(match["extended"], 16)
    else:
        values["bank"] = int(match["bank"] or match["k8bank"])
        if match["unit"]:
            # Only AMD's banks have such names (bankname, k8_bank_name).
            values["vendor"] = Vendor.AMD
            claims = ((ClaimKind.ERROR, match["unit"]),)
    rest, at = match["rest"].rstrip(), 0
    while at < len(rest):
        field = _CPU_REST.match(rest, at)
        if field is None or field[1] is None:
            return None
        registers[_ORDERED_PARTS[field[1]]] = int(field[2], 16)  # type: ignore[literal-required] # the table's values are its keys
        at = field.end()
    return Fragment(Format.MCELOG, "CPU", opens=True, values=values, registers=registers, claims=claims)


def _place(body: str) -> Fragment | None:
    match = _PLACE.match(body) if body[:4] in {"MISC", "ADDR"} else None
    if match is None:
        return None
    registers = RegisterValues()
    if match[1]:
        registers["misc"] = int(match[1], 16)
    if match[2]:
        registers["addr"] = int(match[2], 16)
    part = "+".join(sorted(registers)).upper()
    return Fragment(Format.MCELOG, part, registers=registers, may_open=True)


def _status(body: str, inside: bool) -> Fragment | None:
    match = _STATUS.match(body)
    if match is None or not (inside or match[2] or _LONE_STATUS.match(body)):
        return None
    registers = RegisterValues(status=int(match[1], 16))
    if match[2]:
        registers["mcg_status"] = int(match[2], 16)
    return Fragment(Format.MCELOG, "STATUS", registers=registers, may_open=True)


def _capability(body: str) -> Fragment | None:
    match = _CAPABILITY.match(body)
    if match is None:
        return None
    values, registers = Values(), RegisterValues()
    # --raw prints these on lines of their own, in decimal; the usual form prints them on one line, in hexadecimal.
    alone = match.lastindex is not None and sum(match[name] is not None for name in ("cap", "apic", "socket")) == 1
    if match["cap"]:
        registers["mcg_cap"] = int(match["cap"], 16)
    for name, text in (("apicid", match["apic"]), ("socket", match["socket"])):
        if text:
            values[name] = int(text, 10 if alone and text.isdecimal() else 16)  # type: ignore[literal-required] # two of Values' keys
    part = "MCGCAP" if match["cap"] else "APICID" if match["apic"] else "SOCKETID"
    return Fragment(Format.MCELOG, part, values=values, registers=registers)


def _ppin(text: str) -> Fragment:
    """PPIN, unless it has the look of an MCi_STATUS.

    Some mcelogs print the STATUS of this or of the next record there (logs from Skylake-SP and Broadwell-DE: they seem
    to take the kernel's records for longer than they are). A wrong PPIN would name a wrong processor, so a value with
    bit 63 (VAL) set stays a claim. The PPINs in other logs have that bit clear; no manual says that it must be.
    """
    value = int(text, 16)
    if value >> 63:
        return Fragment(
            Format.MCELOG,
            "PPIN",
            claims=((ClaimKind.OTHER, f"PPIN {text}"),),
            assumptions=("the printed PPIN has the form of an MCi_STATUS (some mcelogs print one there): not used",),
        )
    return Fragment(Format.MCELOG, "PPIN", registers=RegisterValues(ppin=value))


def _cpuid(match: re.Match[str]) -> Fragment:
    values, assumptions = Values(), []
    vendor = _VENDORS.get(match["vendor"])
    if vendor is not None:
        values["vendor"] = vendor
    family, model = int(match["family"]), int(match["model"])
    try:
        values["cpuid"] = cpuid.eax(cpuid.Signature(vendor or Vendor.INTEL, family, model, int(match["stepping"] or 0)))
    except ValueError:
        return Fragment(Format.MCELOG, "CPUID", values=values, claims=((ClaimKind.OTHER, match[0]),))
    if match["stepping"] is None:
        assumptions.append("stepping 0: this mcelog prints none")
    if family > _LAST_FULL_FAMILY:
        # parse_cpuid adds the extended model only while the family is 6 or 15 after the extended family was added.
        assumptions.append("extended model 0: mcelog prints only the low four bits of the model above family 15")
    return Fragment(Format.MCELOG, "CPUID", values=values, assumptions=tuple(assumptions))


def _raw(body: str) -> Fragment | None:
    """The lines that only ``--raw`` prints."""
    if match := _RAW_CPU.match(body):
        return Fragment(Format.MCELOG, "context", values=Values(cpu=int(match[1])))
    if body == "TSC 0":
        return Fragment(Format.MCELOG, "known")  # no time stamp counter; the kernel's own print has such lines too
    if match := _RAW_LINE.match(body):
        name = {"TSC": "tsc", "MCGSTATUS": "mcg_status", "MCGCAP": "mcg_cap"}[match["key"]]
        registers = RegisterValues()
        registers[name] = int(match["value"], 16)  # type: ignore[literal-required] # three of RegisterValues' keys
        return Fragment(Format.MCELOG, match["key"], registers=registers)
    if match := _RAW_PROCESSOR.match(body):
        values = Values()
        if int(match["cpuid"], 16):
            values["cpuid"] = int(match["cpuid"], 16)
            if (vendor := LINUX_VENDORS.get(int(match["vendor"]))) is not None:
                values["vendor"] = vendor
        return Fragment(Format.MCELOG, "PROCESSOR", values=values)
    return None


def _rip(body: str) -> Fragment | None:
    if match := _RIP.match(body):
        if not int(match["ip"], 16):
            return Fragment(Format.MCELOG, "known")  # --raw prints a RIP of zero when there is none
        claims = ((ClaimKind.OTHER, "RIP is inexact (EIPV clear)"),) if match["inexact"] else ()
        registers = RegisterValues(cs=int(match["cs"], 16), ip=int(match["ip"], 16))
        return Fragment(Format.MCELOG, "RIP", registers=registers, claims=claims)
    if match := _SYMBOL.match(body):
        return Fragment(Format.MCELOG, "symbol", claims=((ClaimKind.OTHER, f"RIP in {match['symbol']}"),), repeats=True)
    return None


def _inside(body: str) -> Fragment | None:
    """Lines that are mcelog's only because they stand in one of its records."""
    if (found := _rip(body) or _capability(body) or _raw(body)) is not None:
        return found
    if match := _RAW_BANK.match(body):
        return Fragment(Format.MCELOG, "CPU", opens=True, values=Values(bank=int(match[1])))
    if match := _PPIN.match(body):
        return _ppin(match[1])
    if match := _MICROCODE.match(body):
        return Fragment(Format.MCELOG, "MICROCODE", values=Values(microcode=int(match[1], 16)))
    if _KNOWN_INSIDE.match(body):
        return Fragment(Format.MCELOG, "known")
    if _SEVERITY.match(body):
        return Fragment(Format.MCELOG, "says", claims=((ClaimKind.SEVERITY, body),), repeats=True)
    if _DECODED.match(body):
        return Fragment(Format.MCELOG, "says", claims=((ClaimKind.ERROR, body),), repeats=True)
    return None


def _anywhere(body: str, inside: bool) -> Fragment | None:
    """Lines that can be told alone."""
    if _BOUNDARY.match(body):
        return Fragment(Format.MCELOG, "boundary")
    if (found := _cpu(body) or _status(body, inside)) is not None:
        return found
    if (match := _TIME.match(body)) and (inside or match["date"]):
        values = Values(time=float(match["time"])) if int(match["time"]) else Values()
        return Fragment(Format.MCELOG, "TIME", values=values, may_open=True)
    if match := _CPUID.match(body):
        return _cpuid(match)
    if (match := _MCG.match(body)) is not None:
        return Fragment(Format.MCELOG, "MCG", may_open=True)
    if match := _MCA.match(body):
        if inside or re.match(
            r"(?:MEMORY CONTROLLER|BUS error|(?:Instruction|Data|Generic) (?:CACHE|TLB))", match["text"]
        ):
            return Fragment(
                Format.MCELOG, "MCA", claims=((ClaimKind.ERROR, match["text"]),), may_open=True, repeats=True
            )
        return None
    if _OFFLINING.match(body):
        return Fragment(Format.MCELOG, "says", claims=((ClaimKind.OTHER, body),), repeats=True)
    if _KNOWN.match(body):
        return Fragment(Format.MCELOG, "known")
    return None


def read(body: str, inside: bool) -> Fragment | None:
    """The fragment that a line of mcelog is, or None."""
    body = body.strip()
    found = _anywhere(body, inside)
    if found is not None:
        return found
    if inside:
        return _place(body) or _inside(body)
    # "MISC x ADDR y" is mcelog's order (the kernel prints ADDR first): such a line has lost its CPU line.
    if body.startswith("MISC ") and " ADDR " in body:
        return _place(body)
    return _raw(body) if _RAW_CPU.match(body) else None


INSIDE_LINES: Final = 6
"""A record's own lines directly follow each other; a daemon in syslog may be interrupted by a few of others."""

GRAMMAR = Grammar(
    format=Format.MCELOG,
    tokens=(
        "HARDWARE ERROR",
        "Hardware event",
        "MCE ",
        "CPU ",
        "BANK ",
        "CPUID Vendor",
        "STATUS ",
        "TIME ",
        "MISC ",
        "MCG status",
        "MCA: ",
        "fflin",
        "Running trigger",
        "Trigger `",
        "memory error count exceeded",
        "Corrected memory errors on page",
        "corrected cache errors",
        "DIMM database",
        "contact your hardware vendor",
        "DMI decoding",
        "bytes ignored in each record",
        "consider an update",
        "Processor family",
        "max-corr-err",
        "Too many trigger",
        "Location SOCKET",
        "received Bus and",
        "received IO MCA",
        "received unknown",
        "mcelog server",
        "mcelog read",
    ),
    evidence_tokens=("This is *NOT* a software problem", "This is not a software error"),
    read=read,
    inside_lines=INSIDE_LINES,
)
