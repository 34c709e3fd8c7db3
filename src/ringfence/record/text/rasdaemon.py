"""rasdaemon's own log lines, and what ``ras-mc-ctl --errors`` and ``--summary`` print from its database.

Facts from rasdaemon: ras-mce-handler.c (report_mce_event), ras-mc-handler.c, ras-extlog-handler.c,
ras-memory-failure-handler.c, mce-intel.c, mce-amd-smca.c and util/ras-mc-ctl.in.

Traps: in ``ras-mc-ctl --errors`` "CPU 2" is the number of the vendor (the column cpuvendor), the CPU is ``cpu=0x...``;
what is zero there is left out; a memory event's address is decimal; its grain is the exponent of two that the kernel's
tracepoint carries. The daemon's log gives registers in hexadecimal without ``0x``, but MCG_STATUS in decimal.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Format, Location, MemoryReport
from ringfence.record.text.edac import module_handle
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Unless, Values

_STAMP = r"(?P<stamp>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: [+-]\d{4})?)"
_LEVEL = r"(?:\[[A-Z]{3,7}\] )?"

# --- ras-mc-ctl ------------------------------------------------------------------------------------------------------

_ERROR = re.compile(rf"\d{{1,9}} {_STAMP} error: ?(?P<text>.{{0,3000}})$")
_OTHER_TABLE = re.compile(r"(?:memdev|host|bus_name|dev|error_count|affinity_level|signature|signal|timestamp)=")
_PAIR = re.compile(
    r"(?<![\w.])(?P<key>mcgcap|mcgstatus|status|addr|misc|ip|tsc|walltime|ppin|cpu|cpuid|apicid|socketid|cs|bank|microcode"
    r"|synd|ipid)=0x(?P<value>[0-9a-f]{1,16})(?!\w)"
)
_REGISTERS: Final = {
    "mcgcap": "mcg_cap",
    "mcgstatus": "mcg_status",
    "status": "status",
    "addr": "addr",
    "misc": "misc",
    "ip": "ip",
    "tsc": "tsc",
    "ppin": "ppin",
    "cs": "cs",
    "synd": "synd",
    "ipid": "ipid",
}
_VALUES: Final = {"cpuid": 32, "apicid": 32, "microcode": 32, "cpu": 24, "socketid": 16, "bank": 8}
"""The pairs that are no registers, with the number of bits that they can have."""
_VENDOR = re.compile(r"(?:^|, )CPU (?P<number>\d{1,3})(?=,|$)")
_MCG_TEXT = re.compile(r"\bmcgstatus=(?P<value>\d{1,20})\b(?!x)")
_NAMED_BANK = re.compile(r"\(bank=(?P<bank>\d{1,3})\)")
_N_ERRORS = re.compile(r"\bn_errors=(?P<count>\d{1,5})\b")
_PLACE = re.compile(
    r"(?<!\w)(?P<key>memory_channel|csrow|bank|bankgroup|row|column|failed device|rank)(?P<mark>=|: 0x)"
    r"(?P<value>[0-9a-f]{1,8})\b"
)
_PLACES: Final = {
    ("memory_channel", "="): ("channel", 10),
    ("csrow", "="): ("csrow", 10),
    ("bank", ": 0x"): ("bank", 16),
    ("bankgroup", ": 0x"): ("bank_group", 16),
    ("row", ": 0x"): ("row", 16),
    ("column", ": 0x"): ("column", 16),
    ("failed device", ": 0x"): ("device", 16),
    ("rank", ": 0x"): ("rank", 16),
}
_CONTINUED = re.compile(
    r"(?:Transaction: |MemCtrl: |bank: 0x|bankgroup: |row: 0x|column: |failed device: |rank: |subrank: |ecc mode: "
    r"|mcg |mci |mca |n_errors=|memory_channel=|Corrected_error|Uncorrected_error|Error_enabled)"
)

_MC_ERROR = re.compile(
    rf"\d{{1,9}} {_STAMP} (?P<count>\d{{1,9}}) (?P<type>\w+) error\(s\): (?P<error>.{{0,200}}?) "
    r"at (?P<label>.{0,200}?) location: (?P<mc>-?\d{1,4}):(?P<layers>-?\d{1,4}:-?\d{1,4}:-?\d{1,4}), "
    r"addr (?P<addr>-?\d{1,20}), grain -?\d{1,20}, syndrome (?P<syndrome>-?\d{1,20}) ?(?P<detail>.{0,400})$"
)
_MC_SUMMARY = re.compile(
    r"(?P<type>Corrected|Uncorrected|Deferred|Fatal|Info) on DIMM Label\(s\): '(?P<label>[^']{0,200})' "
    r"location: (?P<mc>-?\d{1,4}):(?P<layers>-?\d{1,4}:-?\d{1,4}:-?\d{1,4}) errors: (?P<count>\d{1,10})$"
)
_EXTLOG = re.compile(
    r"type=(?P<type>[^,]{1,60}), severity=(?P<severity>[\w-]{1,20}), address=0x(?P<address>[0-9a-f]{1,16}), "
    r"(?P<rest>.{0,600})$"
)
_FAILURE = re.compile(
    r"pfn=(?:0x)?(?P<pfn>[0-9a-f]{1,13}),? page_type=(?P<page>.{1,80}?),? action_result=(?P<result>.{1,40})$"
)
_MCE_TOTAL = re.compile(r"(?P<count>\d{1,10}) (?P<message>\S.{0,1000}) errors$")
_EXTLOG_TOTAL = re.compile(
    r"(?P<count>\d{1,10}) (?P<type>(?:unknown|no error|(?:single|multi)-(?:bit|symbol chipkill) ECC|master abort"
    r"|target abort|parity error|watchdog timeout|invalid address|mirror Broken|memory sparing"
    r"|scrub (?:un)?corrected error|physical memory map-out event|unknown-type)) "
    r"(?P<severity>recoverable|fatal|corrected|informational|unknown-severity) errors$"
)
_FAILURE_TOTAL = re.compile(r"(?P<result>Ignored|Failed|Delayed|Recovered) errors: (?P<count>\d{1,10})$")
_OTHER_TOTAL = re.compile(r"\d{1,10} (?:Corrected|Uncorrected.{0,12}|Fatal) errors: |.{1,80} has \d{1,10} errors$")
"""PCI Express (AER), and what counts by device: no machine checks."""
_MCE_WORDS: Final = (
    ("Corrected error", ClaimedSeverity.CORRECTED),
    ("Deferred error", ClaimedSeverity.DEFERRED),
    ("Uncorrected, software", ClaimedSeverity.RECOVERABLE),
    ("System Fatal error", ClaimedSeverity.FATAL),
)
"""How rasdaemon begins its message for an AMD processor (mce-amd.c, decode_amd_errcode); Intel's say no severity."""
_TOTAL: Final = "a summary: the count is of stored events, with no time and no registers of single ones"
_EVERY_UC: Final = "rasdaemon has these words for every uncorrected error of an AMD processor: some may have been fatal"
_KNOWN = re.compile(
    r"No (?:Memory|MCE|Extlog|PCIe AER|Memory failure|disk|devlink|ARM processor|SIGNAL|CXL .{1,40}|NVIDIA.{0,8}) "
    r"(?:errors?|event)?\.?$|(?:Memory controller|MCE|Extlog|Memory failure) (?:events|records)(?: summary)?:$"
    r"|(?:PCIe AER|ARM processor|Devlink|Disk|SIGNAL|NVIDIA.{0,8}|CXL .{1,40}) (?:errors|events|records) summary:$"
    r"|(?:rasdaemon: )?(?:mce_record store: |register inserted at db|ras:mc_event event enabled"
    r"|mce:mce_record event enabled|Enabled event mce:mce_record|Enabled event ras:mc_event|Listening to events"
    r"|Recording mce_record events|Recording mc_event events)"
)

# --- the daemon's log ------------------------------------------------------------------------------------------------

_MCE_RECORD = re.compile(
    rf"(?:.{{0,120}}mce_record: *)?{_LEVEL}(?:{_STAMP} )?"
    r"(?:bank=(?P<bank>[0-9a-f]{1,2})|(?P<name>[^,=]{1,80}(?:\(bank=\d+\))?))"
    r", status= (?P<status>[0-9a-f]{1,16})(?P<rest>,.{0,3000})?$"
)
_FIELD = re.compile(
    r", (?P<key>cpu|socketid|ip|cs|misc|addr|synd|ipid|mcgstatus|mcgcap|apicid|ppin|microcode|tsc)= "
    r"(?P<value>[0-9a-f]{1,16})(?: \(INEXACT\))?(?=,|$)"
)
_CPU_TYPE = re.compile(r", cpu_type= (?P<name>[^,]{1,80})")
_MC_EVENT = re.compile(
    rf"mc_event: *{_LEVEL}(?:{_STAMP} )?(?P<count>\d{{1,9}}) (?P<type>\w+) errors?:(?: (?P<error>.{{0,200}}?))?"
    r"(?: on (?P<label>.{1,200}?))? \(mc: (?P<mc>\d{1,4})(?: location: (?P<layers>-?\d[\d:-]{0,20}))?"
    r"(?: address: 0x(?P<addr>[0-9a-f]{1,16}))? grain: -?\d{1,20}(?: syndrome: 0x(?P<syndrome>[0-9a-f]{1,16}))?"
    r"(?P<detail> .{0,400})?\)$"
)
_EXTLOG_EVENT = re.compile(
    rf"extlog_mem_event: *{_LEVEL}(?:{_STAMP} )?{_LEVEL}(?P<seq>\d{{1,10}}) (?P<severity>\w+) error: "
    r"(?P<type>.{1,60}?) physical addr: 0x(?P<address>[0-9a-f]{1,16}) "
    r"mask: 0x(?P<mask>[0-9a-f]{1,16})(?P<rest>.{0,600})$"
)
_FAILURE_EVENT = re.compile(
    rf"memory_failure_event: *{_LEVEL}(?:{_STAMP} )?pfn=(?:0x)?(?P<pfn>[0-9a-f]{{1,13}}) "
    r"page_type=(?P<page>.{1,80}?) action_result=(?P<result>.{1,40})$"
)

_SEVERITIES: Final = {
    "corrected": ClaimedSeverity.CORRECTED,
    "uncorrected": ClaimedSeverity.RECOVERABLE,
    "recoverable": ClaimedSeverity.RECOVERABLE,
    "deferred": ClaimedSeverity.DEFERRED,
    "fatal": ClaimedSeverity.FATAL,
    "info": ClaimedSeverity.INFORMATIONAL,
    "informational": ClaimedSeverity.INFORMATIONAL,
}
_DETAIL = re.compile(
    r"(?:^|[ ,({])(?P<key>socket|imc|rank|node|row|column|bank|device)[:=](?P<value>\d{1,9})(?=[ ,)}]|$)"
)
_MAX_U64: Final = (1 << 64) - 1


def _epoch(stamp: str | None) -> float | None:
    """Seconds since the epoch of ``2025-06-23 08:24:48 -0400``; None without a zone."""
    if stamp is None or len(stamp) < 25:
        return None
    try:
        return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S %z").timestamp()
    except (ValueError, OverflowError):
        return None


def _timed(values: Values, stamp: str | None) -> Values:
    if (time := _epoch(stamp)) is not None and "time" not in values:
        values["time"] = time
    return values


def _location(text: str) -> Location | None:
    """The DIMM's parts that rasdaemon worked out of MISC or SYND and put into its text; None if there are none."""
    found: dict[str, int] = {}
    for match in _PLACE.finditer(text):
        if (place := _PLACES.get((match["key"], match["mark"]))) is None:
            continue
        name, radix = place
        if radix == 16 or match["value"].isdecimal():
            found.setdefault(name, int(match["value"], radix))
    return Location(label=None, **found) if found else None


def _pairs(text: str) -> tuple[Values, RegisterValues]:
    values, registers = Values(), RegisterValues()
    for match in _PAIR.finditer(text):
        key, number = match["key"], int(match["value"], 16)
        if key in _REGISTERS:
            registers.setdefault(_REGISTERS[key], number)  # type: ignore[misc] # the table's values are RegisterValues' keys
        elif key == "walltime":
            values["time"] = float(number)
        elif number < 1 << _VALUES[key]:
            name = "socket" if key == "socketid" else key
            values.setdefault(name, number)  # type: ignore[misc] # Values' keys
    if "mcg_status" not in registers and (match_ := _MCG_TEXT.search(text)) and int(match_["value"]) <= _MAX_U64:
        registers["mcg_status"] = int(match_["value"])
    if "bank" not in values and (named := _NAMED_BANK.search(text)) and int(named["bank"]) < 256:
        values["bank"] = int(named["bank"])
    if (errors := _N_ERRORS.search(text)) and int(errors["count"]):
        values["count"] = int(errors["count"])
    return values, registers


def _said(text: str) -> tuple[tuple[ClaimKind, str], ...]:
    """What rasdaemon says in words: everything before the registers."""
    first = _PAIR.search(text)
    words = (text[: first.start()] if first else text).rstrip(" ,")
    return ((ClaimKind.ERROR, words),) if words else ()


_INTEL_LEFT_OUT: Final = (Unless(Values(vendor=Vendor.INTEL), "vendor Intel: ras-mc-ctl leaves out vendor number 0"),)
_ZERO_CPU: Final = (Unless(Values(cpu=0), "CPU 0: ras-mc-ctl leaves out zeros"),)
_ZERO_BANK: Final = (Unless(Values(bank=0), "bank 0: ras-mc-ctl leaves out zeros"),)


def _vendor_number(text: str) -> Values:
    """The maker by the vendor's number, where it is printed; it has no number that we know: nothing."""
    named = _VENDOR.search(text)
    maker = LINUX_VENDORS.get(int(named["number"])) if named is not None else None
    return Values(vendor=maker) if maker is not None else Values()


def _left_out(values: Values) -> tuple[Unless, ...]:
    """What ras-mc-ctl means by not printing it: it prints a column only if it is true in Perl, so no zero (or NULL).

    Vendor and CPU stand before the CPUID signature, so that they are known to be missing once that has come.
    """
    return (*_INTEL_LEFT_OUT, *_ZERO_CPU) if "cpuid" in values else ()


def _mce_error(match: re.Match[str]) -> Fragment | None:
    """A line (or the first line of a wrapped one) of ``ras-mc-ctl --errors`` for an MCE."""
    text = match["text"]
    values, registers = _pairs(text)
    values |= _vendor_number(text)
    unless = _left_out(values)
    if "status" in registers and "time" in values:
        unless += _ZERO_BANK
    if (stamped := _epoch(match["stamp"])) is not None:
        # When rasdaemon stored it; the walltime is the error's own, and may be a second older.
        unless += (Unless(Values(time=stamped)),)
    location = _location(text)
    return Fragment(
        Format.RASDAEMON,
        "head",
        opens=True,
        values=values,
        registers=registers,
        claims=_said(text),
        memory=MemoryReport(location=location) if location is not None else None,
        unless=unless,
    )


def _extlog(match: re.Match[str], stamp: str | None) -> Fragment:
    address = int(match["address"], 16)
    places = {item["key"]: int(item["value"]) for item in _DETAIL.finditer(match["rest"]) if item["key"] != "imc"}
    named = re.search(r"fru_text='([^']{1,64})'", match["rest"])
    mask = int(match["mask"], 16) if "mask" in match.re.groupindex else None
    handle = re.search(r"\b(?:module_handle: |mem_dev_handle=)(\d{1,10})\b", match["rest"])
    return Fragment(
        Format.RASDAEMON,
        "extlog",
        opens=True,
        closes=True,
        values=_timed(Values(), stamp),
        memory=MemoryReport(
            severity=_SEVERITIES.get(match["severity"].lower()),
            error=match["type"],
            location=Location(label=named[1] if named else None, **places),
            physical_address=address or None,
            physical_address_mask=mask,
            page_frame=address >> 12 or None,
            module_handle=int(handle[1]) if handle else None,
        ),
        claims=((ClaimKind.FIRMWARE, match[0]),),
    )


def _failure(match: re.Match[str], stamp: str | None) -> Fragment:
    frame = int(match["pfn"], 16)
    return Fragment(
        Format.RASDAEMON,
        "failure",
        opens=True,
        closes=True,
        values=_timed(Values(), stamp),
        memory=MemoryReport(
            severity=ClaimedSeverity.RECOVERABLE,
            error=f"memory failure: {match['page'].strip()}: {match['result'].strip()}",
            page_frame=frame,
            physical_address=frame << 12,
        ),
        claims=((ClaimKind.MEMORY_FAILURE, match[0]),),
    )


def _memory_event(match: re.Match[str], address: int | None, syndrome: int | None) -> Fragment:
    """An EDAC event. Its layers are the driver's (channel and slot, or csrow and channel): they stay in the claim."""
    places: dict[str, int] = {}
    for item in _DETAIL.finditer(match["detail"] or ""):
        if item["key"] in {"socket", "rank"}:
            places.setdefault(item["key"], int(item["value"]))
    controller = int(match["mc"])
    count = int(match["count"])
    return Fragment(
        Format.RASDAEMON,
        "mc_event",
        opens=True,
        closes=True,
        # rasdaemon itself takes a reported count of 0 for a defect of the firmware, and counts 1 (ras-mc-handler.c).
        values=_timed(Values(count=max(1, count)), match["stamp"]),
        memory=MemoryReport(
            severity=_SEVERITIES.get(match["type"].lower()),
            error=match["error"] or None,
            location=Location(
                label=match["label"] or None,
                controller=controller if controller >= 0 else None,
                syndrome=syndrome or None,
                **places,
            ),
            physical_address=address or None,
            page_frame=address >> 12 if address else None,
            module_handle=module_handle(match["detail"] or ""),
        ),
        claims=((ClaimKind.EDAC, match[0]),),
    )


def _decimal(text: str) -> int | None:
    """A column of SQLite, which is signed: negative numbers are the upper half of 64 bits."""
    value = int(text)
    if value < 0:
        value += 1 << 64
    return value if 0 <= value <= _MAX_U64 else None


def _database_line(body: str) -> Fragment | None:
    if match := _MC_ERROR.match(body):
        return _memory_event(match, _decimal(match["addr"]), _decimal(match["syndrome"]))
    if match := _ERROR.match(body):
        text = match["text"]
        if extlog := _EXTLOG.match(text):
            return _extlog(extlog, match["stamp"])
        if failure := _FAILURE.match(text):
            return _failure(failure, match["stamp"])
        return None if _OTHER_TABLE.match(text) else _mce_error(match)
    if match := _MC_SUMMARY.match(body):
        return Fragment(
            Format.RASDAEMON,
            "summary",
            opens=True,
            closes=True,
            values=Values(count=int(match["count"])),
            memory=MemoryReport(
                severity=_SEVERITIES[match["type"].lower()],
                location=Location(
                    label=match["label"] or None, controller=int(match["mc"]) if int(match["mc"]) >= 0 else None
                ),
            ),
            claims=((ClaimKind.EDAC, body),),
            assumptions=(_TOTAL,),
        )
    return None


def _total(body: str) -> Fragment | None:
    """A total of ``ras-mc-ctl --summary`` whose line does not say of itself what it counts: it stands below a heading.

    A total of machine checks without a severity in its words stays unread: nothing tells how bad they were.
    """
    claims: tuple[tuple[ClaimKind, str], ...] = ((ClaimKind.OTHER, body),)
    assumptions: tuple[str, ...] = (_TOTAL,)
    memory: MemoryReport | None = None
    if match := _FAILURE_TOTAL.match(body):
        memory = MemoryReport(severity=ClaimedSeverity.RECOVERABLE, error=f"memory failure: {match['result']}")
        claims = ((ClaimKind.MEMORY_FAILURE, body),)
    elif match := _EXTLOG_TOTAL.match(body):
        if (severity := _SEVERITIES.get(match["severity"])) is not None:
            memory = MemoryReport(severity=severity, error=match["type"])
        claims = ((ClaimKind.FIRMWARE, body),)
    elif match := _MCE_TOTAL.match(body):
        message = match["message"]
        severity = next((severity for words, severity in _MCE_WORDS if message.startswith(words)), None)
        if severity is not None:
            memory = MemoryReport(severity=severity, error=message.rstrip("."))
        if severity is ClaimedSeverity.RECOVERABLE:
            assumptions = (_TOTAL, _EVERY_UC)
    else:
        return Fragment(Format.RASDAEMON, "known") if _OTHER_TOTAL.match(body) else None
    values = Values(count=int(match["count"]))
    return Fragment(
        Format.RASDAEMON, "summary", opens=True, closes=True, values=values, memory=memory, claims=claims,
        assumptions=assumptions,
    )  # fmt: skip


def _vendor_of(cpu_type: str) -> Vendor | None:
    """The vendor, if rasdaemon's name of the CPU type begins with it ("AMD Scalable MCA", "Intel Xeon v3 ...")."""
    return next((vendor for vendor in Vendor if cpu_type.startswith(vendor.value)), None)


def _log_fields(rest: str) -> tuple[Values, RegisterValues]:
    """The ``, key= value`` pairs of a log line."""
    values, registers = Values(), RegisterValues()
    for field in _FIELD.finditer(rest):
        key, text = field["key"], field["value"]
        if key in {"cpu", "socketid"}:
            if text.isdecimal() and len(text) < 8:
                values["cpu" if key == "cpu" else "socket"] = int(text)
        elif key in {"apicid", "microcode"}:
            if len(text) <= 8:
                values[key] = int(text, 16)  # type: ignore[literal-required] # two of Values' keys
        else:
            registers[_REGISTERS[key]] = int(text, 16)  # type: ignore[literal-required] # the table's values are its keys
    if "mcg_status" not in registers and (mcg := _MCG_TEXT.search(rest)) and int(mcg["value"]) <= _MAX_U64:
        registers["mcg_status"] = int(mcg["value"])
    if (errors := _N_ERRORS.search(rest)) and int(errors["count"]):
        values["count"] = int(errors["count"])
    return values, registers


def _mce_record(match: re.Match[str]) -> Fragment:
    rest = match["rest"] or ""
    values, registers = _log_fields(rest)
    registers["status"] = int(match["status"], 16)
    name = (match["name"] or "").strip()
    if match["bank"]:
        values["bank"] = int(match["bank"], 16)
    elif (named := _NAMED_BANK.search(name)) and int(named["bank"]) < 256:
        values["bank"] = int(named["bank"])
    kind = _CPU_TYPE.search(rest)
    if kind is not None and (vendor := _vendor_of(kind["name"])) is not None:
        values["vendor"] = vendor
    said = rest[: kind.start()] if kind is not None else rest
    words = (name, said.strip(" ,"), f"cpu_type {kind['name']}" if kind is not None else "")
    location = _location(said)
    return Fragment(
        Format.RASDAEMON,
        "head",
        opens=True,
        closes=True,
        values=_timed(values, match["stamp"]),
        registers=registers,
        claims=tuple((ClaimKind.ERROR, text) for text in words if text),
        memory=MemoryReport(location=location) if location is not None else None,
    )


def _log_line(body: str) -> Fragment | None:
    if match := _MC_EVENT.search(body):
        syndrome = int(match["syndrome"], 16) if match["syndrome"] else None
        return _memory_event(match, int(match["addr"], 16) if match["addr"] else None, syndrome)
    if match := _EXTLOG_EVENT.search(body):
        return _extlog(match, match["stamp"])
    if match := _FAILURE_EVENT.search(body):
        return _failure(match, match["stamp"])
    if ", status= " in body and (match := _MCE_RECORD.match(body)):
        return _mce_record(match)
    return None


def _continued(body: str) -> Fragment | None:
    """The rest of a line of ``ras-mc-ctl --errors`` that a mail program wrapped."""
    values, registers = _pairs(body)
    values |= _vendor_number(body)
    if not (registers or values or _CONTINUED.match(body)):
        return None
    location = _location(body)
    return Fragment(
        Format.RASDAEMON,
        "continued",
        values=values,
        registers=registers,
        claims=_said(body),
        memory=MemoryReport(location=location) if location is not None else None,
        repeats=True,
        unless=_left_out(values),
    )


def read(body: str, inside: bool) -> Fragment | None:
    """The fragment that a line of rasdaemon or ras-mc-ctl is, or None."""
    body = body.strip()
    if (found := _database_line(body) or _log_line(body)) is not None:
        return found
    if _KNOWN.match(body):
        return Fragment(Format.RASDAEMON, "known")
    return (_total(body) or _continued(body)) if inside else None


INSIDE_LINES: Final = 1
"""The parts of a wrapped line directly follow each other."""

GRAMMAR = Grammar(
    format=Format.RASDAEMON,
    tokens=(
        " error: ", " error:", "error(s): ", "DIMM Label(s)", ", status= ", "mc_event: ", "extlog_mem_event",
        "memory_failure_event", "No Memory errors", "No MCE errors", "No Extlog errors", "mce_record", "MCE events",
        "events summary", "Memory controller events", "records summary", "errors summary:",
    ),
    evidence_tokens=("mce_record:", ", mcgcap=0x"),
    read=read,
    inside_lines=INSIDE_LINES,
)  # fmt: skip
