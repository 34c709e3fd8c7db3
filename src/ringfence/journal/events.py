"""What the journal holds: every kind of event, as it stands on the disk (one JSON object, its kind in ``kind``).

Journal order is the order of truth; ``at_ms`` is the host's clock when the event was written. An event belongs to the
life of the process that the last ``Started`` before it names.
"""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from typing import Final, get_args

import msgspec

from ringfence.diagnosis.fault_case import Ending
from ringfence.hypervisor.port import Token
from ringfence.record.evidence import Origin, Record
from ringfence.world.domain import DomainKind, DomainState
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame, GuestFrame, StepId
from ringfence.world.situation import Seat, Suspect
from ringfence.world.steps import Status, Step
from ringfence.world.treatment import Dom0Says

# --- parts of events ------------------------------------------------------------------------------------------------


Value = int | bool | str | None | tuple[int, ...]
"""What a field of a step can be."""


class StepWire(msgspec.Struct, frozen=True):
    """A step on the disk: the name of its kind, and its fields by name."""

    kind: str
    given: tuple[tuple[str, Value], ...]

    @property
    def step(self) -> Step:
        """The step. Raises ``msgspec.ValidationError`` for a kind or a field that this version does not know."""
        kind = STEPS.get(self.kind)
        if kind is None:
            raise msgspec.ValidationError(f"no step is called {self.kind}")
        given = dict(self.given)
        if unknown := given.keys() - {field.name for field in fields(kind)}:
            raise msgspec.ValidationError(f"{self.kind} has no field {', '.join(sorted(unknown))}")
        return msgspec.convert(given, kind)


STEPS: Final[dict[str, type[Step]]] = {kind.__name__: kind for kind in get_args(Step)}
"""Every kind of step by its name on the disk."""


def on_wire(step: Step) -> StepWire:
    """A step as the journal holds it."""
    return StepWire(type(step).__name__, tuple((field.name, getattr(step, field.name)) for field in fields(step)))


class Reason(msgspec.Struct, frozen=True):
    """One reason of a decision or an impact: the concept's row or the rule, a sentence, and its source.

    ``supports`` is false for what speaks against.
    """

    row: str
    because: str
    cite: str = ""
    supports: bool = True


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer or a loser: ``party`` as ``diagnosis.impact.Party`` names it, ``pages`` in the loser's own numbers."""

    party: str
    certainty: str
    domain: DomainId | None = None
    pages: tuple[GuestFrame, ...] = ()
    unnumbered: int = 0


class OutcomeEntry(msgspec.Struct, frozen=True):
    """What became of one part of a case: of a loser, or (``domain`` None) of the host's own part."""

    domain: DomainId | None
    state: str
    row: str
    because: str = ""


class Accused(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A suspect as ``diagnosis.suspects`` found it: by which rule, how well it accounts for what was seen, and why."""

    suspect: Suspect
    name: str
    rule: str
    grade: str
    errors: int
    places: int
    distinct: int = 0
    speaks_for: tuple[str, ...] = ()
    speaks_against: tuple[str, ...] = ()


class Deadline(StrEnum):
    """Which time was over."""

    ANSWER = "answer"
    APPROVAL = "approval"
    OPERATION = "operation"
    EVIDENCE = "evidence"


# --- events -----------------------------------------------------------------------------------------------------------


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="kind", omit_defaults=True):
    at_ms: int


class Started(_Event, frozen=True, kw_only=True):
    """Ringfence began a life. ``boot`` names the host's boot, ``wall_ms`` is the time since the epoch at ``at_ms``."""

    life: int
    version: str
    hypervisor: str
    policy_digest: str = ""
    boot: str = ""
    wall_ms: int | None = None
    lacks: tuple[str, ...] = ()
    """What the backend declares that it cannot do."""


class Stopped(_Event, frozen=True, kw_only=True):
    """Ringfence ended a life in order."""

    because: str = ""


class PolicyLoaded(_Event, frozen=True, kw_only=True):
    """A policy applies from now on, by the word of ``who`` (empty: it is the one that Ringfence started with)."""

    digest: str
    text: str = ""
    who: str = ""


class ConfigurationLoaded(_Event, frozen=True, kw_only=True):
    """A configuration applies from now on, ``text`` without what is secret; ``path`` is empty for the default.

    ``at_once`` and ``at_restart`` are the keys that differ from the one before, by when they hold; ``who`` is empty for
    the one that Ringfence started with.
    """

    digest: str
    text: str = ""
    path: str = ""
    at_once: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()
    who: str = ""


class Received(_Event, frozen=True, kw_only=True):
    """One record of an arrival became durable. ``part`` is its place among the arrival's records.

    The record is whole: the finding can be made of it again at any time. ``severity`` and ``summary`` are what the
    finding said then; ``frame`` with ``pages`` is what the address names; ``rank``, ``dimm``, ``core`` and ``syndrome``
    are what a ``corrected`` error is counted by, ``count`` times (B.8). Evidence that is ``left_over`` from an earlier
    boot came through ``sink``; it is not counted, and never halts again. ``token`` names the arrival at the port, None
    where a source of the host's own gave it. ``place`` holds the parts of its location that are known, by the names of
    ``record.evidence.Location``; ``unit`` and ``unit_kind`` say what reported.

    What a source of the host's own gave names its ``source``, and has a number of its own (``sighting``): further
    reports of the same error refer to it (``AlsoSeen``). ``happened_ms`` is the error's own time on the host's clock,
    if that lies before it was read; ``could_be`` are sightings of which it may be one more report, where that cannot
    be told.
    """

    token: Token | None
    case: CaseId | None
    urgent: bool
    record: Record
    severity: str
    summary: str
    part: int = 0
    left_over: bool = False
    sink: str = ""
    corrected: bool = False
    count: int = 1
    frame: Frame | None = None
    pages: int = 1
    rank: str | None = None
    dimm: str | None = None
    core: str | None = None
    syndrome: int | None = None
    place: tuple[tuple[str, int | str], ...] = ()
    unit: str = ""
    unit_kind: str = ""
    source: str = ""
    sighting: int | None = None
    happened_ms: int | None = None
    could_be: tuple[int, ...] = ()


class AlsoSeen(_Event, frozen=True, kw_only=True):
    """A further report of an error that is in the journal already: one more piece of evidence, and not one more error.

    ``of`` is the error's ``Received.sighting``, ``case`` its case, ``report`` what this source gave, ``rule`` why both
    are of one error (``service.sources.joining``, ``diagnosis.events``). ``adds`` are the kinds of parts that no report
    of the error had named before: for these it counts from now on, with all that is known of its place by now.
    """

    of: int
    report: Received
    rule: str
    case: CaseId | None = None
    adds: tuple[Suspect, ...] = ()


class Repeated(_Event, frozen=True, kw_only=True):
    """Many reports of one kind became durable together: a storm, from a source of the host's own. No case comes of it.

    ``record`` is the first, whole; ``reports`` is how many there are, each of ``count`` errors. ``pages`` are the
    host's frames that their addresses name, and how many reports name each, the one named last standing last; reports
    beyond these name none. ``packed`` are all of them as they came, ``struct_bytes`` each
    (``record.repeats.unpacked``); it is empty where more came than are kept one by one: then only these numbers are
    known of them, and ``last_s``, the time of the last one in seconds since the epoch (the first one's is the
    record's).

    If they are ``alike``, they differ from the first in address and time alone. Else ``summary`` holds for the first
    one only, and ``place``, ``rank``, ``dimm`` and ``syndrome`` say what they have in common. The rest is as in
    ``Received``.
    """

    record: Record
    severity: str
    summary: str
    reports: int
    pages: tuple[tuple[Frame, int], ...] = ()
    packed: bytes = b""
    struct_bytes: int = 0
    last_s: float | None = None
    alike: bool = True
    corrected: bool = False
    count: int = 1
    rank: str | None = None
    dimm: str | None = None
    core: str | None = None
    syndrome: int | None = None
    place: tuple[tuple[str, int | str], ...] = ()
    unit: str = ""
    unit_kind: str = ""

    @property
    def frame(self) -> None:
        """None: it is about ``pages``. For whoever takes it for one ``Received``."""
        return None


class Unrecognised(_Event, frozen=True, kw_only=True):
    """Something that looks like evidence and cannot be read; ``part`` is its place among its arrival's records."""

    raw: bytes
    why: str
    origin: Origin | None = None
    token: Token | None = None
    part: int = 0
    source: str = ""


class Instructed(_Event, frozen=True, kw_only=True):
    """A person instructed an operation on a domain (II.2), or on the machine (II.3): then ``on`` names the page or the
    CPU, and ``domain`` is None. ``refused`` says why nothing was done (II.4, L8).
    """

    operation: str
    who: str
    domain: DomainId | None = None
    on: str = ""
    case: CaseId | None = None
    refused: str = ""


class Lost(_Event, frozen=True, kw_only=True):
    """``count`` pieces of evidence were dropped before anybody could fetch them (L2, L10).

    A source of the host's own says what of it was lost (``unit``) and ``why``; ``exact`` is false where more may be.
    """

    count: int
    urgent: bool
    token: Token | None = None
    source: str = ""
    unit: str = ""
    why: str = ""
    exact: bool = True


class SourceRead(_Event, frozen=True, kw_only=True):
    """How far a source of the host's own was read: all evidence before ``position`` is in the journal.

    It is written together with the evidence that it stands behind. ``position`` is the source's own
    (``service.sources.source.Position``).
    """

    source: str
    position: str


class Acknowledged(_Event, frozen=True, kw_only=True):
    """The sources were told that these arrivals are durable. It may come late, or (after a kill) never."""

    tokens: tuple[Token, ...]


class Impacted(_Event, frozen=True, kw_only=True):
    """Whom the error of a case hit, with the grounds for and against. ``frames`` are (host frame, pages) pairs."""

    case: CaseId
    consumer: Hit
    losers: tuple[Hit, ...]
    certainty: str
    grounds: tuple[Reason, ...] = ()
    frames: tuple[tuple[Frame, int], ...] = ()
    cpu: CpuId | None = None
    consumed: bool = False


class Decided(_Event, frozen=True, kw_only=True):
    """What shall be done for a domain of a case (None: for the host), and why; ``costed`` is B.6's sum in words."""

    case: CaseId
    domain: DomainId | None
    seat: Seat
    row: str
    answer: Dom0Says | None = None
    reasons: tuple[Reason, ...] = ()
    costed: tuple[str, ...] = ()
    token: Token | None = None


class Asked(_Event, frozen=True, kw_only=True):
    """The hypervisor asked what shall become of a domain, until ``deadline_ms`` on the host's clock (I.2c-dom0)."""

    case: CaseId
    domain: DomainId
    deadline_ms: int
    operate: bool = False
    token: Token | None = None


class Answered(_Event, frozen=True, kw_only=True):
    """A question was answered; ``status`` is what the hypervisor made of the answer (REFUSED: it came too late)."""

    case: CaseId
    domain: DomainId
    says: Dom0Says
    status: Status = Status.DONE
    because: str = ""


class Progressed(_Event, frozen=True, kw_only=True):
    """A case went one transition further in the hypervisor's seat, at ``seat_ms`` on the host's clock.

    ``position`` is what the part must not forget, as ``decision.flow.Position.encode`` writes it, where this seat
    treats the case by itself and has to go on after a kill; empty elsewhere.
    """

    case: CaseId
    domain: DomainId | None
    event: str
    state: str
    row: str
    because: str = ""
    steps: tuple[str, ...] = ()
    ended: bool = False
    seat_ms: int | None = None
    position: str = ""
    token: Token | None = None


class Intended(_Event, frozen=True, kw_only=True):
    """A step is about to be carried out. ``dimm`` is the module that a page's offlining is charged to."""

    order: StepId
    case: CaseId
    step: StepWire
    attempt: int = 1
    row: str = ""
    dimm: str | None = None


class Carried(_Event, frozen=True, kw_only=True):
    """What became of an order, and what the backend declared that it could not do."""

    order: StepId
    status: Status
    because: str = ""
    declared: tuple[str, ...] = ()


class Closed(_Event, frozen=True, kw_only=True):
    """A case has its outcome, with an entry per loser and one for the host if it had a part (L2)."""

    case: CaseId
    outcome: tuple[OutcomeEntry, ...]


class Superseded(_Event, frozen=True, kw_only=True):
    """Another case took this one over; its outcome is the other's."""

    case: CaseId
    by: CaseId
    because: str = ""


class TrendSeen(_Event, frozen=True, kw_only=True):
    """The corrected errors of a suspect passed a threshold (B.8). ``case`` acts ahead on it, if one does (II.1).

    ``accused`` is what the spread of the errors points at, the best first, ``left_off`` more are not named.
    """

    suspect: Suspect
    name: str
    count: int
    distinct: int
    window_ms: int
    expected_ue_ms: int | None = None
    frames: tuple[Frame, ...] = ()
    cpu: CpuId | None = None
    case: CaseId | None = None
    accused: tuple[Accused, ...] = ()
    left_off: int = 0


class Cleared(_Event, frozen=True, kw_only=True):
    """A part is at fault no more, by the word of ``who``, or because another serial number is in its place. What was
    seen before does not count any more. ``case`` is the last that acted on its fault, ``serial`` the number of the part
    that is in its place now, if it was told.
    """

    suspect: Suspect
    name: str
    how: Ending
    who: str = ""
    because: str = ""
    serial: str = ""
    case: CaseId | None = None


class Module(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A memory module in its socket ``name``; ``serial`` is empty where firmware gives none that tells it apart."""

    name: str
    serial: str = ""
    part_number: str = ""
    size_bytes: int | None = None


class ModulesSeen(_Event, frozen=True, kw_only=True):
    """Which memory modules the host's firmware says that there are (SMBIOS type 17), where that has changed.

    ``changed`` are sentences about the sockets in which another module sits than before.
    """

    modules: tuple[Module, ...]
    changed: tuple[str, ...] = ()


class KnownBad(_Event, frozen=True, kw_only=True):
    """After a reboot ``case`` takes out of use again what was judged bad before: so many pages, these CPUs (II.3)."""

    case: CaseId
    pages: int
    cpus: tuple[CpuId, ...] = ()


class PluginSaid(_Event, frozen=True, kw_only=True):
    """A plug-in's verdict on a domain of a case; ``answer`` is empty if it raised or was late."""

    case: CaseId
    plugin: str
    answer: str
    because: str = ""
    domain: DomainId | None = None


class ApprovalAsked(_Event, frozen=True, kw_only=True):
    """A person is asked whether an operation may be done, until ``deadline_ms`` on the host's clock."""

    case: CaseId
    domain: DomainId | None
    operation: str
    deadline_ms: int


class ApprovalGiven(_Event, frozen=True, kw_only=True):
    """A person granted or refused an operation."""

    case: CaseId
    domain: DomainId | None
    operation: str
    granted: bool
    who: str


class DeadlinePassed(_Event, frozen=True, kw_only=True):
    """A time was over. Once passed it is never unpassed (L5)."""

    case: CaseId
    domain: DomainId | None
    which: Deadline


class EvidenceSaved(_Event, frozen=True, kw_only=True):
    """The evidence of a case that halts the host is durable (B.3)."""

    case: CaseId
    token: Token | None = None


class DomainChanged(_Event, frozen=True, kw_only=True):
    """A domain came, changed its state, or ended."""

    domain: DomainId
    name: str
    domain_kind: DomainKind
    state: DomainState
    uuid: str = ""
    because: str = ""


class Dom0Changed(_Event, frozen=True, kw_only=True):
    """Dom0's handler came or went, Dom0 was hurt, or a verified probe showed that it works again (B.3)."""

    has_handler: bool
    hurt: bool
    because: str = ""


class Compacted(_Event, frozen=True, kw_only=True):
    """What was old left the journal: of the events up to ``upto``, ``events`` with ``bytes`` of text were dropped.

    What is needed of them stays: the state after ``upto`` in a snapshot, and the events of what was open.
    """

    upto: int
    events: int
    bytes: int
    because: str = ""


class Salvaged(_Event, frozen=True, kw_only=True):
    """This journal was made from a damaged one: ``read`` events were taken over with their numbers, ``lost`` are gone.

    ``lost_from`` and ``lost_to`` are the first and the last number that is gone, 0 if none is.
    """

    read: int
    lost: int
    lost_from: int
    lost_to: int
    because: str = ""


Event = (
    Started
    | Stopped
    | PolicyLoaded
    | ConfigurationLoaded
    | Received
    | Repeated
    | AlsoSeen
    | Unrecognised
    | Lost
    | SourceRead
    | Acknowledged
    | Impacted
    | Decided
    | Asked
    | Answered
    | Progressed
    | Intended
    | Carried
    | Closed
    | Superseded
    | TrendSeen
    | Cleared
    | ModulesSeen
    | KnownBad
    | PluginSaid
    | ApprovalAsked
    | ApprovalGiven
    | Instructed
    | DeadlinePassed
    | EvidenceSaved
    | DomainChanged
    | Dom0Changed
    | Compacted
    | Salvaged
)
"""Everything that the journal holds. Closed: ``match`` over it ends in ``assert_never``."""

KINDS: Final[dict[str, type[Event]]] = {kind.__name__: kind for kind in get_args(Event)}
"""Every kind of event by its name on the disk."""


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """An event that this version cannot read: of a kind, or with a value, that a later version wrote. It is kept.

    The numbers that it uses are read all the same, so that none of them is given away again.
    """

    kind: str
    text: str
    why: str
    at_ms: int = 0
    case: int | None = None
    order: int | None = None
    token: int | None = None


Stored = Event | Unread
"""What reading a journal gives."""

# --- the wire ---------------------------------------------------------------------------------------------------------


class _Numbers(msgspec.Struct):
    kind: str = ""
    at_ms: int = 0
    case: int | None = None
    order: int | None = None
    token: int | None = None


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_NUMBERS: Final = msgspec.json.Decoder(_Numbers)


def to_text(event: Event) -> str:
    """An event as one line of JSON.

    What JSON in UTF-8 cannot hold changes: half a surrogate pair is written with backslashes, NaN and infinity as null.
    """
    try:
        return _ENCODER.encode(event).decode()
    except UnicodeEncodeError:
        return _ENCODER.encode(_legible(msgspec.to_builtins(event))).decode()


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


def from_text(text: str) -> Stored:
    """The event of a line; ``Unread`` if a later version wrote what this one does not know."""
    try:
        event = _DECODER.decode(text)
        if isinstance(event, Intended):
            _ = event.step.step  # a step that came later makes the whole event one
    except msgspec.DecodeError as error:
        return _unread(text, str(error))
    return event


def _unread(text: str, why: str) -> Unread:
    try:
        known = _NUMBERS.decode(text)
    except msgspec.DecodeError:
        known = _Numbers()
    return Unread(
        kind=known.kind,
        text=text,
        why=why,
        at_ms=known.at_ms,
        case=known.case,
        order=known.order,
        token=known.token,
    )
