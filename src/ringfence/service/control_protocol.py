"""The control socket's language: one JSON object a line, requests one way, replies the other.

A client sends one request and reads replies until the one that ends the answer: any but ``event``. It may then send the
next request. Every request carries the version of this language.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from ringfence.decision.policy import Operation
from ringfence.diagnosis.fault_case import Ending
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame
from ringfence.world.steps import Status as StepStatus

VERSION: Final = 1
"""Grows when a request or reply changes so that an older side would misunderstand it."""

MAX_LINE_BYTES: Final = 4096
"""Of a request: the longest that means anything has a twentieth of that. More ends the connection."""

MAX_REPLY_BYTES: Final = 1 << 24
"""Of a reply, for who reads it: a host has some thousands of domains and cases, of some hundred bytes each."""

MOST_EVENTS: Final = 100_000
"""That can be asked for at once; ``after`` goes on from there."""

MOST_NUMBER: Final = (1 << 63) - 1
"""Of an event: what SQLite can hold."""


# --- requests -------------------------------------------------------------------------------------------------------


class _Request(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag=str.lower,
    tag_field="request",
    forbid_unknown_fields=True,
):
    version: int = VERSION


class Status(_Request, frozen=True, kw_only=True):
    """How the service is."""


class Events(_Request, frozen=True, kw_only=True):
    """What the journal says, in words: the ``last`` events, or those after the number ``after``, at most ``last``.

    ``follow``: go on with what comes, without an end; whoever follows sends no further request, and
    keeps its side of the connection open.
    """

    last: int = 20
    after: int | None = None
    follow: bool = False


class Cases(_Request, frozen=True, kw_only=True):
    """The open cases; with ``closed``, the newest of the closed ones as well."""

    closed: bool = False


class Domains(_Request, frozen=True, kw_only=True):
    """The domains of the host."""


class Approvals(_Request, frozen=True, kw_only=True):
    """What waits for a person's word."""


class Approve(_Request, frozen=True, kw_only=True):
    """Grant or deny an operation that waits for a person."""

    case: CaseId
    domain: DomainId
    operation: Operation
    granted: bool


class Do(_Request, frozen=True, kw_only=True):
    """Do an operation on a domain (II.2), checked as II.4 wants it. ``domain`` is its number, or its name."""

    operation: Operation
    domain: DomainId | str


class Switch(StrEnum):
    """What becomes of a page or a CPU."""

    OFFLINE = "offline"
    ONLINE = "online"


class Unpause(_Request, frozen=True, kw_only=True):
    """Let a paused domain run again, if no open case is about it. ``domain`` is its number, or its name."""

    domain: DomainId | str


class Page(_Request, frozen=True, kw_only=True):
    """Take a page out of use, or put it back: ``frame`` is its number on the host."""

    to: Switch
    frame: Frame


class Cpu(_Request, frozen=True, kw_only=True):
    """Take a logical CPU out of use, or put it back."""

    to: Switch
    cpu: CpuId


class PageQuery(_Request, frozen=True, kw_only=True):
    """What Ringfence knows of a page."""

    frame: Frame


class Metrics(_Request, frozen=True, kw_only=True):
    """The service's numbers as a monitoring system reads them: Prometheus' text, or OpenMetrics."""

    openmetrics: bool = False


class Parts(_Request, frozen=True, kw_only=True):
    """The parts that something is held against; with ``all``, those too that are only watched, or were cleared."""

    all: bool = False


class Clear(_Request, frozen=True, kw_only=True):
    """End what is held against a part, which is named as ``Parts`` names it: it was repaired, replaced, or acquitted.

    What was counted before does not count any more. ``serial`` is the number of what is in its place.
    """

    part: str
    how: Ending
    because: str = ""
    serial: str = ""


class Reload(_Request, frozen=True, kw_only=True):
    """Load the configuration and the policy again; a file that is bad changes nothing."""


class TestWebhook(_Request, frozen=True, kw_only=True):
    """Send a test event to the webhook of this name, once. The service sends it, from where it is."""

    name: str


Step = Unpause | Page | Cpu
"""An instruction that is one step, carried out at once."""

Question = Status | Cases | Domains | Approvals | Parts | PageQuery | Metrics | TestWebhook
"""What is answered in one reply and changes nothing."""

Change = Approve | Do | Unpause | Page | Cpu | Clear | Reload
"""What changes something: it is journaled with who did it."""

Request = Events | Question | Change
"""All that can be asked. Closed: ``match`` over it ends in ``assert_never``."""


# --- replies --------------------------------------------------------------------------------------------------------


class Code(StrEnum):
    """Why a request is refused."""

    BAD_REQUEST = "bad request"
    OTHER_VERSION = "other version"
    TOO_LONG = "line too long"
    NOT_ALLOWED = "not allowed"
    NOT_THERE = "not there"
    REFUSED = "refused"
    BUSY = "busy"
    FAILED = "failed"


class _Reply(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, tag_field="reply"):
    pass


class Refused(_Reply, frozen=True, kw_only=True):
    """Nothing was done, and why; ``advice`` says what can be done about it."""

    code: Code
    message: str
    advice: str = ""


class Health(_Reply, frozen=True, kw_only=True):
    """How the service is. Times are milliseconds; ``*_wall_ms`` since the epoch, ``now_ms`` on the host's clock.

    ``problems`` are sentences about what is wrong now; empty if all is well. ``notes`` are lines about parts of the
    service with which nothing is wrong, each source of evidence among them; ``also_seen`` counts further reports of
    errors that were received. Of the reports received, ``together`` came together in storms, and ``summed`` of these
    are not kept one by one, but by their number and page. ``lacks`` is what the hypervisor cannot
    do. ``unwritten`` events wait for room on the disk, ``unkept`` ones are in the kernel's log
    only. ``policy_problem``: the configuration's or the policy's file is not in force, and why; ``at_restart`` are the
    keys that were changed and hold at the next start only. ``you`` are who asks, ``you_may`` what you may do.
    ``webhooks`` are the receivers that can be tried out, by their names.
    """

    service_version: str
    pid: int
    life: int
    boot: str
    hypervisor: str
    started_wall_ms: int
    now_ms: int
    halted: bool
    dom0: str
    state_dir: str
    policy: str
    policy_digest: str
    policy_problem: str
    open_cases: int
    approvals: int
    orders: int
    domains: int
    journal_events: int
    received: int
    unrecognised: int
    lost_urgent: int
    lost_nonurgent: int
    unwritten: int
    unkept: int
    clients: int
    slow_readers: int
    turned_away: int
    bad_lines: int
    lacks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    also_seen: int = 0
    together: int = 0
    summed: int = 0
    configuration: str = "default"
    configuration_digest: str = ""
    at_restart: tuple[str, ...] = ()
    you: str = ""
    you_may: tuple[str, ...] = ()
    webhooks: tuple[str, ...] = ()


class Event(_Reply, frozen=True, kw_only=True):
    """One event of the journal in words. ``wall_ms`` is None if the clock was not known then.

    ``what`` is the sort of thing, ``row`` the concept's row or empty; ``details`` are reasons, and numbers of sums.
    """

    number: int
    kind: str
    at_ms: int
    wall_ms: int | None
    what: str
    row: str
    text: str
    case: int | None = None
    details: tuple[str, ...] = ()


class End(_Reply, frozen=True, kw_only=True):
    """No more events; ``last`` is the number of the last one that was looked at."""

    last: int


class CasePart(msgspec.Struct, frozen=True, kw_only=True):
    """How far one part of a case is: ``whom`` is a domain's name, or the host."""

    whom: str
    state: str
    row: str
    because: str = ""


class CaseLine(msgspec.Struct, frozen=True, kw_only=True):
    """One case. ``severity`` is empty for one of Dom0's own, ``superseded_by`` names the case that took it over.

    ``fault`` is the part that it acts (or acted) on ahead of an error, in words, with what became of that.
    """

    case: int
    open: bool
    opened_wall_ms: int | None = None
    severity: str = ""
    pages: int = 0
    parts: tuple[CasePart, ...] = ()
    instructed: str = ""
    superseded_by: int | None = None
    fault: str = ""


class CaseList(_Reply, frozen=True, kw_only=True, tag="cases"):
    """Cases, the oldest first."""

    cases: tuple[CaseLine, ...]


class DomainLine(msgspec.Struct, frozen=True, kw_only=True):
    """One domain. ``cases`` are the open ones about it, ``handler`` its PV MCA handler; ``agent`` is what an agent in
    it calls itself, ``thrown`` why and how often something that it said was thrown away.
    """

    domain: int
    name: str
    kind: str
    state: str
    uuid: str = ""
    handler: str = ""
    agent: str = ""
    thrown: tuple[tuple[str, int], ...] = ()
    mca_enabled: bool = False
    vcpus: int = 0
    memory_mib: int = 0
    cases: tuple[int, ...] = ()


class DomainList(_Reply, frozen=True, kw_only=True, tag="domains"):
    """Domains, by number."""

    domains: tuple[DomainLine, ...]


class ApprovalLine(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that waits for a person, ``left_ms`` more."""

    case: int
    domain: int
    name: str
    operation: Operation
    left_ms: int
    deadline_wall_ms: int | None = None


class ApprovalList(_Reply, frozen=True, kw_only=True, tag="approvals"):
    """What waits for a person's word, the most urgent first."""

    approvals: tuple[ApprovalLine, ...]


class Done(_Reply, frozen=True, kw_only=True):
    """An instruction was taken. ``status`` is what became of it so far: ``running`` ends later, in its case."""

    status: StepStatus
    case: int | None = None
    because: str = ""


class Exposed(_Reply, frozen=True, kw_only=True):
    """The service's numbers: a text of the media type ``media``. Each is explained in docs/metrics.md."""

    media: str
    text: str


class Tested(_Reply, frozen=True, kw_only=True):
    """What came of a test event: the receiver's status (0: no answer came), and its words or why there were none."""

    url: str
    taken: bool
    took_ms: int
    message: str
    status: int = 0
    signed: bool = False


class Reloaded(_Reply, frozen=True, kw_only=True):
    """The configuration is loaded again: the keys that differ from before hold ``at_once``, or ``at_restart`` only.

    ``policy_changed``: another policy applies from now on. ``unknown`` are users and groups that are given rights and
    that this machine does not know.
    """

    configuration: str
    configuration_digest: str
    policy: str
    policy_digest: str
    policy_changed: bool
    at_once: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class PartState(StrEnum):
    """Where a part stands, the worst first."""

    FAULTY = "faulty"
    """Its errors passed a threshold, and nothing could be done about it ahead: it is to be replaced."""
    DEALT_WITH = "being dealt with"
    RETIRED = "retired"
    """It is out of use, or nothing of worth is left in it."""
    SUSPECTED = "suspected"
    """The spread of the errors points at it; its threshold is not passed."""
    WATCHED = "watched"
    """Its errors are counted."""
    CLEARED = "cleared"
    """It was repaired, replaced, or not at fault, and has not erred since."""


class EngineLine(msgspec.Struct, frozen=True, kw_only=True):
    """The engine of a part: ``level`` errors (``distinct``: syndromes) of ``limit`` within ``window_s`` seconds.

    ``source`` says where limit and window come from.
    """

    engine: str
    level: int
    limit: int
    window_s: int
    source: str
    distinct: bool = False


class PartLine(msgspec.Struct, frozen=True, kw_only=True):
    """One part. ``stage`` is that of its fault (FMA), ``grade`` how well it accounts for what was seen, empty if it is
    not suspected. ``case`` acts on it, ``cases`` did; ``who`` cleared it. ``serial`` is that of a module.
    """

    part: str
    suspect: str
    name: str
    state: PartState
    stage: str = ""
    errors: int = 0
    distinct: int = 0
    grade: str = ""
    speaks_for: tuple[str, ...] = ()
    speaks_against: tuple[str, ...] = ()
    engine: EngineLine | None = None
    case: int | None = None
    cases: tuple[int, ...] = ()
    who: str = ""
    first_wall_ms: int | None = None
    last_wall_ms: int | None = None
    since_wall_ms: int | None = None
    serial: str = ""


class PartList(_Reply, frozen=True, kw_only=True, tag="parts"):
    """Parts, the worst first; ``left_off`` more are not named. So many in all are ``watched``, and ``cleared``."""

    parts: tuple[PartLine, ...]
    left_off: int = 0
    watched: int = 0
    cleared: int = 0


class PageKnown(_Reply, frozen=True, kw_only=True, tag="page"):
    """A page: whether Ringfence took it out of use, of which module it is, what was counted, the open cases about it.

    ``state`` is where it stands among the parts; ``dimm`` is known of pages that were taken out of use.
    """

    frame: Frame
    out_of_use: bool
    state: PartState
    errors: int = 0
    dimm: str = ""
    cases: tuple[int, ...] = ()


Answer = PageKnown | Health | CaseList | DomainList | ApprovalList | PartList | Exposed | Tested
"""What answers a question."""

Reply = Refused | Event | End | Answer | Done | Reloaded
"""All that can be answered."""


# --- the wire -------------------------------------------------------------------------------------------------------


class _Versioned(msgspec.Struct):
    version: int = VERSION


_ENCODER: Final = msgspec.json.Encoder()
_REQUESTS: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
_REPLIES: Final[msgspec.json.Decoder[Reply]] = msgspec.json.Decoder(Reply)
_VERSIONS: Final = msgspec.json.Decoder(_Versioned)


def line_of(message: Request | Reply) -> bytes:
    """A request or reply as its line."""
    return json_of(message) + b"\n"


def json_of(value: msgspec.Struct) -> bytes:
    """A struct as JSON. What UTF-8 cannot hold (half a surrogate pair) is replaced."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return _ENCODER.encode(_legible(msgspec.to_builtins(value)))


def _legible(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {name: _legible(each) for name, each in value.items()}
        case list() | tuple():
            return [_legible(each) for each in value]
        case _:
            return value


def request_of(line: bytes) -> Request | Refused:
    """The request of a line; what is none is answered so."""
    try:
        request = _REQUESTS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        version = _version(line)
        if version != VERSION:
            return _other_version(version)
        advice = "docs/reference/control.md has every request with its fields."
        return Refused(code=Code.BAD_REQUEST, message=f"this is no request: {error}", advice=advice)
    return request if request.version == VERSION else _other_version(request.version)


def _version(line: bytes) -> int:
    try:
        return _VERSIONS.decode(line).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return VERSION


def _other_version(version: int) -> Refused:
    message = f"version {version} of the control language is not spoken here, but {VERSION}"
    return Refused(code=Code.OTHER_VERSION, message=message, advice="Use the client of the same Ringfence.")


def reply_of(line: bytes) -> Reply:
    """The reply of a line. Raises ``msgspec.DecodeError`` for anything else."""
    return _REPLIES.decode(line)
