"""A line of a log: its prefixes taken off, its stamp kept, mail damage undone.

What the kernel printed stands behind whatever carried it: a mail quote, a syslog priority, one or more time stamps in
any language, a host name, ``kernel:``, ``mce:``, ``[Hardware Error]:``, ``(XEN)``. Grammars see only what remains.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

MAX_LINE_CHARACTERS = 4096
"""Longer lines are cut for reading (no known format comes near); their raw bytes are kept whole."""


WHOLE_RECORD = b"\0"
"""A line of this alone stands for a whole record of the kernel's that another reader has taken from here."""


LULL = b"\0\0"
"""A line of this alone says that the source has fallen silent (``record.evidence.Lull``)."""


_MARKS = frozenset({WHOLE_RECORD, LULL})


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line as it stands in the file: 1-based ``number``, bytes without the line ending.

    ``unwrapped`` is the line with a mail program's encoding undone, None if there was none to undo.
    """

    number: int
    raw: bytes
    unwrapped: bytes | None = None

    @property
    def text(self) -> bytes:
        """The line to read."""
        return self.raw if self.unwrapped is None else self.unwrapped


@dataclass(frozen=True, slots=True)
class Line:
    """A line whose prefixes are taken off.

    ``raw`` are the bytes as they stand in the file, of every line if several were joined (``\\n`` between them),
    ``text`` is the whole line that they make, ``body`` what remains of its readable part without prefixes.
    ``stamp`` is the last time text among the prefixes, ``time`` its seconds since the epoch if the text fixes them
    (a date with a year and a zone), ``clock_s`` a number that orders stamps of the same kind, ``caller`` the printk
    caller id (``T123``, ``C3``), ``ghes`` the number in ``{1}[Hardware Error]:``, ``xen`` whether Xen's console marked
    it, ``prefixed`` whether anything but mail's quote marks was taken off: a line without any prefix may be the rest of
    the line before it. ``newest_first`` says that the log stands in reverse here.
    """

    number: int
    raw: bytes
    text: str
    body: str
    stamp: str | None = None
    time: float | None = None
    clock_s: float | None = None
    caller: str | None = None
    ghes: int | None = None
    xen: bool = False
    prefixed: bool = False
    newest_first: bool = False

    @property
    def order(self) -> int:
        """A number that grows in the order in which the lines were written."""
        return -self.number if self.newest_first else self.number


_CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
_DELTA = r"(?:\s<\s*\d{1,10}\.\d{1,9}\s*>)?"
"""The seconds since the line before, as ``dmesg --show-delta`` adds them (util-linux sys-utils/dmesg.c), and
``journalctl -o short-delta`` (systemd src/shared/logs-show.c)."""
_TAG = r"(?:kernel|mcelog|rasdaemon|xen|vmkernel|vmunix|abrt-\S+)"
_GREPPED = r"(?=\[[\s\dA-Z]|\(XEN\)|[^\W\d]{3}\s[\s\d]\d\s\d\d:|\d{4}-\d\d-\d\dT|mce:\s|kernel:\s|CPU\s?\d)"
_PREFIX = re.compile(
    rf"""\s*(?:
      (?P<quote>(?:>\s?)+)
    | (?P<priority><\d{{1,3}}>(?:1(?=\s\d{{4}}-\d\d-\d\dT))?)
    | (?P<level>(?:kern|user|daemon|syslog|local\d)\s*:(?:emerg|alert|crit|err|warn|notice|info|debug)\s*:)
    | (?P<kmsg>\d{{1,4}},\d{{1,20}},\d{{1,20}},[^;,\s]{{1,8}}(?:,[^;\s]{{1,64}})?;)
    | (?P<full>[^\W\d]{{2,4}}\.?\s\d{{4}}-\d\d-\d\d\s{_CLOCK}\s(?:[A-Z]{{2,5}}|[+-]\d\d(?::?\d\d)?)(?=\s))
    | (?P<unix>\d{{9,10}}\.\d{{6}}(?=\s\S{{1,64}}\s{_TAG}\b))
    | \[\s*(?P<uptime>\d{{1,10}}\.\d{{1,9}}){_DELTA}\]
    | \[(?P<delta>\s*\+\d{{1,10}}\.\d{{1,9}}|<\s*\d{{1,10}}\.\d{{1,9}}>)\]
    | \[(?P<minute>(?=\d{{0,2}}[^\W\d])[^\s\[\]]{{2,16}}(?:\s\d{{1,2}})?\s\d\d:\d\d)\]
    | \[\s*(?P<caller>[TC]\d{{1,10}})\]
    | \[(?P<wall>[^\[\]]{{0,40}}{_CLOCK}[^\[\]]{{0,16}}?){_DELTA}\]
    | (?!\d+\s\d{{4}}-\d\d-\d\d\s)
      (?P<date>(?:\S{{1,16}}\s+){{0,3}}?(?:\d{{4}}-\d\d-\d\dT)?{_CLOCK}(?:Z|\s?[+-]\d\d:?\d\d)?(?:\s\d{{4}}(?=\s|:))?)(?:\s|:|$)
    | (?P<daemon>(?:[\w.-]{{1,64}}\s+)?{_TAG}(?:\[(?:\d{{1,8}}|-)\])?\s?:)
    | (?P<structured>[\w.-]{{1,64}}\s{_TAG}\s(?:-|\S{{1,128}})\s(?:-|\S{{1,32}})\s(?:-|\[[^\]]{{0,200}}\])\s)
    | (?P<xen>\(XEN\))
    | \{{(?P<ghes>\d{{1,9}})\}}(?=\[Hardware\sError\])
    | (?P<label>(?:mce|core|x86/mce|RAS)\s?:(?=\s))
    | (?P<hw>\[\s?Hardware\sError\s?\]:)
    | (?P<found>(?:[^\s:]{{1,200}}[:-])?\d{{1,9}}[:-]{_GREPPED}|[^\s:]{{1,200}}:{_GREPPED})
    )\s?""",
    re.VERBOSE,
)
"""``level`` is what ``dmesg --decode`` puts first; ``kmsg`` a record of /dev/kmsg, or of netconsole's extended form
(Linux Documentation/ABI/testing/dev-kmsg); ``full`` and ``unix`` stamps of ``journalctl -o short-full`` and
``short-unix``; ``structured`` RFC 5424's fields behind the stamp; ``found`` the file's name and the line's number, as
grep puts them before what it found, if what follows is the beginning of a line."""
_COLOUR = re.compile(r"(?<!\w)(?:\x1b\[[0-9;]{0,16}[mK])+|(?:\x1b\[[0-9;]{0,16}[mK])+(?!\w)")
"""What ``dmesg --color`` and serial consoles put around words, never within one (ECMA-48 8.3.117 SGR, 8.3.41 EL)."""
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\s?(?:Z|[+-]\d\d:?\d\d)$")
_RELAY = re.compile(r".*[:>]\s+")
_MAX_PREFIXES = 16
"""More prefixes than any carrier chain seen puts before a line; the bound keeps a hostile line cheap."""


def _seconds_of_day(text: str) -> float | None:
    match = re.search(r"(\d{1,2}):(\d\d):(\d\d)(?:[.,](\d+))?", text)
    if not match:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + (float(f"0.{fraction}") if fraction else 0.0)


def _epoch(text: str) -> float | None:
    if not _ISO.match(text):
        return None
    try:
        return datetime.fromisoformat(text.replace(",", ".").replace(" ", "T", 1).replace(" ", "")).timestamp()
    except (ValueError, OverflowError):
        return None


def _iso(full: str) -> str:
    """A stamp of ``short-full`` in the form of ISO 8601; without a zone if only an abbreviation names it."""
    _, date, clock, zone = full.split()
    return f"{date}T{clock}" + ("Z" if zone in {"UTC", "GMT"} else zone if zone[0] in "+-" else "")


def strip(line: RawLine) -> Line:
    """Take every known prefix off a line. Never fails: what is not a prefix is the body."""
    known = _stripped(line.text)
    return Line(
        line.number, line.raw, known.text, known.body, known.stamp, known.time, known.clock_s, known.caller, known.ghes,
        known.xen, known.prefixed,
    )  # fmt: skip


REMEMBERED_LINES = 8192
"""So many lines are remembered with what they say: more than a folder of examples has, less than memory notices."""


@lru_cache(maxsize=REMEMBERED_LINES)
def _stripped(raw: bytes) -> Line:
    """A line without its number."""
    whole = _COLOUR.sub("", raw.decode("utf-8", "replace")).rstrip("\r\n")
    text = whole[:MAX_LINE_CHARACTERS]
    at = 0
    stamp: str | None = None
    time: float | None = None
    clock: float | None = None
    caller: str | None = None
    ghes: int | None = None
    xen = prefixed = False
    for _ in range(_MAX_PREFIXES):
        match = _PREFIX.match(text, at)
        if match is None or match.end() == at:
            break
        kind, value = match.lastgroup, match[match.lastgroup or 0]
        prefixed = prefixed or kind != "quote"
        match kind:
            case "uptime":
                stamp, clock = stamp or value, float(value)
            case "wall" | "date":
                # What relayed the line stands before the time of the line itself: "host kernel: <180> 2023-...".
                value = _RELAY.sub("", value) if ": " in value or "> " in value else value
                stamp, time, clock = value.strip(), _epoch(value.strip()), _seconds_of_day(value)
            case "full":
                stamp, time, clock = value, _epoch(_iso(value)), _seconds_of_day(value)
            case "unix":
                stamp, time, clock = value, float(value), float(value)
            case "kmsg":
                clock = int(value.split(",")[2]) / 1e6
                stamp = stamp or f"{clock:.6f}"
            case "minute":
                # ``dmesg --reltime``: the month, day and minute once, then seconds since the line before.
                stamp = value.strip()
            case "caller":
                caller = value
            case "ghes":
                ghes = int(value)
            case _:
                xen = xen or kind == "xen"
        at = match.end()
    return Line(0, b"", whole, text[at:].strip(), stamp, time, clock, caller, ghes, xen, prefixed)


_SOFT_BREAK = re.compile(rb"=[ \t]*\r?$")
_QUOTED_PRINTABLE = re.compile(rb"=([0-9A-F]{2})")
_CUT_STATUS = re.compile(r"\bBank\s+\d+:\s+[0-9a-f]{1,15}$")
_CUT_HEAD = re.compile(
    r"\bCPU ?\d+: Machine Check(?: Exception| Event)?:?(?:\s+[0-9a-f]{1,15})?(?:\s+Bank(?:\s+\d+:?)?)?$"
)
"""Sixteen digits of MCG_STATUS make a whole line: i386 kernels, which print so many, put each bank on its own line."""
_FIELDS = ("TSC", "ADDR", "MISC", "SYND", "IPID", "PPIN", "PROCESSOR", "TIME", "SOCKET", "APIC", "microcode")
_CUT_FIELD = re.compile(rf"\b(?:{'|'.join(_FIELDS)})$")
_HEX_REST = re.compile(r"[0-9a-f]{1,15}$")
_FIELD_REST = re.compile(r"(?:[0-9a-f]{1,16}|\d:[0-9a-f]+)(?:\s+(?:[A-Z]{3,}\d?|microcode)\s+[0-9a-f:]+)*$")
_FIELDS_LINE = re.compile(r"(?:TSC|PROCESSOR) [0-9a-f]")
_MORE_FIELDS = re.compile(r"(?:(?:ADDR|MISC|SYND|IPID|PPIN|TIME|SOCKET|APIC|microcode) +[0-9a-f]{1,16}(?: +|$))+$")


def _glued(before: Line, after: Line) -> str | None:
    """The joined body if ``after`` is the rest of ``before``, cut by a mail program or a narrow screen; else None.

    ``after`` stands right behind, without any prefix.
    """
    if not after.body:
        return None
    if (
        "Bank" in before.body
        and _CUT_STATUS.search(before.body)
        and _HEX_REST.match(after.body)
        and len(before.body.rsplit(None, 1)[1]) + len(after.body) == 16
    ):
        return before.body + after.body
    if (
        "CPU" in before.body
        and _CUT_HEAD.search(before.body)
        and re.match(r"(?:Check|Exception|Event|Bank|\d|[0-9a-f]+\s+Bank)", after.body)
    ):
        return f"{before.body} {after.body}"
    if before.prefixed and _FIELDS_LINE.match(before.body) and _MORE_FIELDS.match(after.body):
        return f"{before.body} {after.body}"
    if before.body.endswith(_FIELDS) and _CUT_FIELD.search(before.body) and _FIELD_REST.match(after.body):
        return f"{before.body} {after.body}"
    return None


def _soft_joined(lines: Iterable[RawLine]) -> Iterator[RawLine]:
    """Undo quoted-printable: join lines at soft breaks, decode ``=3D`` in the lines that show it."""
    held: RawLine | None = None
    for line in lines:
        if held is not None and line.number == held.number + 1 + held.raw.count(b"\n"):
            joined = _SOFT_BREAK.sub(b"", held.text) + line.text
            line = RawLine(held.number, held.raw + b"\n" + line.raw, joined)  # noqa: PLW2901 (the held line goes on)
        elif held is not None:
            yield held
        held = None
        text = line.text
        if b"=" not in text:
            yield line
        elif _SOFT_BREAK.search(text) and len(text) < MAX_LINE_CHARACTERS:
            held = line
        elif b"=3D" in text or text.rstrip().endswith(b"=20"):
            yield RawLine(line.number, line.raw, _QUOTED_PRINTABLE.sub(lambda m: bytes([int(m[1], 16)]), text))
        else:
            yield line
    if held is not None:
        yield held


def unwrapped(lines: Iterable[RawLine]) -> Iterator[Line]:
    """The lines with prefixes off and wrapped lines joined; a joined line keeps the raw bytes of both."""
    held: Line | None = None
    for raw in _soft_joined(lines):
        line = strip(raw)
        if raw.raw in _MARKS:
            yield from (each for each in (held, line) if each is not None)
            held = None
            continue
        if held is not None:
            follows = not line.prefixed and line.number == held.number + 1 + held.raw.count(b"\n")
            joined = _glued(held, line) if follows else None
            if joined is not None:
                held = replace(held, raw=held.raw + b"\n" + line.raw, text=f"{held.text} {line.text}", body=joined)
                continue
            yield held
        held = line
    if held is not None:
        yield held
