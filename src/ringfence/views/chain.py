"""The chain of one case, from raw registers to outcome: what the journal says, in the order in which it happened."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from ringfence.decision.rows import MEANINGS, Row
from ringfence.diagnosis.finding import diagnose
from ringfence.diagnosis.impact import Certainty, Party
from ringfence.journal import events as ev
from ringfence.record.evidence import Record
from ringfence.views.text import printable
from ringfence.views.times import iso, to_the_ms
from ringfence.world.identities import DOM0, CaseId, DomainId, StepId
from ringfence.world.situation import Seat
from ringfence.world.steps import Status

_WIDTH = 84
_LABEL = 14
SUSPECTS_SHOWN = 2
"""Of a trend; the journal names more."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain: when (milliseconds on the host's clock), what sort of thing, which row, and in words.

    ``row`` is the concept's row or empty; ``details`` are further sentences, each a reason or a number of the sum.
    """

    at_ms: int
    what: str
    row: str
    text: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """All that the journal says about a case, oldest first. ``outcome`` is empty while it is open. ``epoch_ms`` is the
    wall clock at 0 of the links' clock, milliseconds since the epoch; None if it is not known.

    ``case`` is None for a record that made none: ``event`` is its number then. ``followed_by`` are the cases that were
    begun because of its end: a guest that the hypervisor crashed is brought back by one of its own.
    """

    case: CaseId | None
    title: str
    links: tuple[Link, ...]
    outcome: tuple[str, ...]
    epoch_ms: int | None = None
    event: int | None = None
    followed_by: tuple[CaseId, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it has no outcome yet."""
        return not self.outcome


def names_of(stored: Iterable[ev.Stored]) -> dict[DomainId, str]:
    """The names of domains that the journal has heard of, the last one of each number."""
    known = {DOM0: "Domain-0"}
    for event in stored:
        if isinstance(event, ev.DomainChanged):
            known[event.domain] = event.name
    return known


def _trend(event: ev.TrendSeen) -> Link:
    """How many errors of what, and the best suspects, each with the last word for it and the first against it."""
    text = (
        f"{event.count} corrected errors of {event.name} within {event.window_ms // 3_600_000} h, {event.distinct} "
        f"distinct syndrome{'s' if event.distinct != 1 else ''}"
    )
    accused = tuple(
        f"{each.grade} suspect: {each.suspect} {each.name.removeprefix(f'{each.suspect} ')}"
        + "".join(f", {sentence}" for sentence in each.speaks_for[-1:])
        + (f"; but {each.speaks_against[0]}" if each.speaks_against else "")
        for each in event.accused[:SUSPECTS_SHOWN]
    )
    return Link(event.at_ms, "trend", "II.1", text, accused)


def by_case(stored: Iterable[ev.Stored]) -> dict[CaseId, list[ev.Stored]]:
    """The events of each case, in the order of the cases' first events; the end of an order belongs to its case."""
    cases: dict[CaseId, list[ev.Stored]] = {}
    of_order: dict[StepId, CaseId] = {}
    for event in stored:
        case = of_order.get(event.order) if isinstance(event, ev.Carried) else getattr(event, "case", None)
        if case is None:
            continue
        cases.setdefault(case, []).append(event)
        if isinstance(event, ev.Intended):
            of_order[event.order] = case
    return cases


def chain(
    case: CaseId, stored: Iterable[ev.Stored], names: Mapping[DomainId, str], epoch_ms: int | None = None
) -> Chain:
    """The chain of a case from its events, as ``by_case`` gives them, their times on one clock (``telling.told_of``)
    whose 0 was at ``epoch_ms``.
    """
    links: list[Link] = []
    outcome: tuple[str, ...] = ()
    title = ""
    orders: dict[StepId, str] = {}
    for event in stored:
        title = title or _title(event, names)
        if isinstance(event, ev.Carried):
            if event.order in orders:
                links.append(_carried(event, orders[event.order]))
            continue
        match event:
            case ev.Received():
                links += _received(event)
            case ev.Intended():
                orders[event.order] = step_in_words(event.step, names)
                attempt = f" (attempt {event.attempt})" if event.attempt > 1 else ""
                links.append(Link(event.at_ms, "order", event.row, f"{orders[event.order]}{attempt}"))
            case ev.Closed():
                outcome = tuple(outcome_in_words(entry, names) for entry in event.outcome)
                links.append(Link(event.at_ms, "outcome", "", "closed", outcome))
            case ev.Unread():
                links.append(Link(event.at_ms, "unread", "", f"an event of a later version: {event.kind}"))
            case _:
                found = link(event, names, epoch_ms)
                links += [found] if found is not None else []
    links.sort(key=lambda each: (each.at_ms, _FIRST.get(each.what, len(_FIRST))))
    return Chain(case, title or _UNTITLED, tuple(links), outcome, epoch_ms)


def follows(event: ev.Stored, case: CaseId) -> CaseId | None:
    """The case that was begun because of the end of another, if this event says so."""
    if isinstance(event, ev.Decided) and any(reason.cite == follows_from(case) for reason in event.reasons):
        return event.case
    return None


def follows_from(case: CaseId) -> str:
    """What a decision rests on that was taken because of a case's end."""
    return f"case {case}"


def chain_of_record(
    number: int, event: ev.Received, further: Iterable[ev.AlsoSeen] = (), epoch_ms: int | None = None
) -> Chain:
    """The chain of a record that made no case: a corrected error that was counted, or one that is history. ``further``
    are the reports of the same error by other sources.
    """
    how = "left over from an earlier boot: history" if event.left_over else "counted, and remembered for trends"
    row = "B.2" if event.left_over else "I.2a"
    known = (
        (name, value) for name, value in (("page", event.frame), ("rank", event.rank), ("core", event.core)) if value
    )
    suspects = tuple(f"{name} {value:#x}" if isinstance(value, int) else f"{name} {value}" for name, value in known)
    others = (_also_seen(each) for each in further)
    links = (*reversed(_received(event)), *others, Link(event.at_ms, "outcome", row, how, suspects))
    return Chain(None, event.summary, links, (f"{how} ({row})",), epoch_ms, number)


def chain_of_event(number: int, event: ev.Stored, names: Mapping[DomainId, str], epoch_ms: int | None = None) -> Chain:
    """The chain of an event that is of no case: what it says, if anything."""
    said = link(event, names, epoch_ms)
    kind = event.kind if isinstance(event, ev.Unread) else type(event).__name__
    return Chain(None, said.what if said is not None else kind, () if said is None else (said,), (), epoch_ms, number)


CRASHED: Final = "crashed"
"""The event of a case that brings a guest back (service.reviving)."""
_UNTITLED: Final = "no evidence of its own"


def _title(event: ev.Stored, names: Mapping[DomainId, str]) -> str:
    """What a case is called by one of its events; empty if by none of this kind."""
    if isinstance(event, ev.Received):
        return event.summary
    if isinstance(event, ev.Progressed) and event.event == CRASHED:
        return f"{_whom(event.domain, names)} was crashed by the hypervisor, and is to be brought back"
    if isinstance(event, ev.Decided) and event.row == Row.INFORM:
        return f"{_whom(event.domain, names)} hears of a corrected error in its memory"
    found = link(event, names) if isinstance(event, ev.TrendSeen | ev.Instructed | ev.KnownBad) else None
    return found.text if found is not None and found.what in _TITLES else ""


_TITLES = frozenset({"trend", "instruction", "known bad"})
"""What a case of Dom0's own begins with."""

_FIRST = {"evidence": 0, "finding": 1, "impact": 2}
"""What is known stands before what is done about it, where the journal heard of both at once."""


def link(  # noqa: PLR0912, PLR0915 (an arm a kind of event)
    event: ev.Stored,
    names: Mapping[DomainId, str],
    epoch_ms: int | None = None,
    orders: Mapping[StepId, str] = MappingProxyType({}),
) -> Link | None:
    """One event in words; None for what says nothing to a reader (acknowledgements, starts).

    Deadlines are told in UTC if ``epoch_ms`` is given, the wall clock at 0 of the event's clock. An order whose words
    (``step_in_words``) are among ``orders`` is called by them as it ends, and by its number otherwise.
    """
    match event:
        case ev.Received():
            return _received(event)[0]
        case ev.Repeated():
            return _repeated(event)
        case ev.Impacted():
            return _impacted(event, names)
        case ev.Decided():
            whom = _whom(event.domain, names)
            seat = "Dom0's seat" if event.seat is Seat.DOM0 else "the hypervisor's seat"
            says = f"Dom0 answers {event.answer} for {whom}" if event.answer is not None else f"in {seat}"
            details = tuple(line for reason in event.reasons for line in _reason(reason))
            return Link(event.at_ms, "decision", event.row, says, (*details, *event.costed))
        case ev.Asked():
            what = "to operate on" if event.operate else "what shall become of"
            return Link(
                event.at_ms, "question", "I.2c-dom0", f"Dom0 is asked {what} {_whom(event.domain, names)}, until "
                f"{moment(event.deadline_ms, epoch_ms)}",
            )  # fmt: skip
        case ev.Answered():
            refused = f": {event.status}, {event.because}" if event.status is not Status.DONE else ""
            return Link(event.at_ms, "answer", "", f"{event.says} for {_whom(event.domain, names)}{refused}")
        case ev.Progressed():
            steps = f" [{', '.join(event.steps)}]" if event.steps else ""
            because = f"; {event.because}" if event.because else ""
            text = f"{_whom(event.domain, names)}: {event.state.replace('_', ' ')}{because}{steps}"
            return Link(event.seat_ms or event.at_ms, "step", event.row, text)
        case ev.Superseded():
            return Link(event.at_ms, "superseded", "", f"by case {event.by}: {event.because}")
        case ev.TrendSeen():
            return _trend(event)
        case ev.Cleared():
            return _cleared(event)
        case ev.ModulesSeen():
            number = len(event.modules)
            text = f"firmware names {number} memory module{'s' * (number != 1)}"
            return Link(event.at_ms, "modules", "", text, event.changed)
        case ev.KnownBad():
            cpus = f" and CPU {', '.join(str(cpu) for cpu in event.cpus)}" if event.cpus else ""
            text = f"{event.pages} page{'s' * (event.pages != 1)}{cpus}, judged bad before the reboot, leave use again"
            return Link(event.at_ms, "known bad", "II.3", text)
        case ev.PluginSaid():
            said = f"{event.answer}: {event.because}" if event.answer else f"nothing: {event.because}"
            return Link(event.at_ms, "plug-in", "", f"{event.plugin} says {said}")
        case ev.ApprovalAsked():
            text = (
                f"a person is asked: {event.operation} {_whom(event.domain, names)}? until "
                f"{moment(event.deadline_ms, epoch_ms)}"
            )
            return Link(event.at_ms, "approval", "", text)
        case ev.ApprovalGiven():
            word = "granted" if event.granted else "denied"
            return Link(event.at_ms, "approval", "", f"{event.who} {word} {event.operation}")
        case ev.Instructed():
            row, refused = ("II.4", f": refused, {event.refused}") if event.refused else ("II.2", "")
            on = event.on or _whom(event.domain, names)
            row = "II.3" if event.on and not refused else row
            text = f"{event.who} instructs: {event.operation} {on}{refused}"
            return Link(event.at_ms, "instruction", row, text)
        case ev.DeadlinePassed():
            return Link(event.at_ms, "deadline", "", f"the time for the {event.which} is over")
        case ev.EvidenceSaved():
            return Link(event.at_ms, "evidence", "B.3", "the evidence is durable: the halt need not wait")
        case ev.Lost(source=source) if source:
            return _lost_by(event)
        case ev.Lost():
            which = "urgent" if event.urgent else "nonurgent"
            return Link(event.at_ms, "lost", "", f"{event.count} {which} records were dropped before anybody saw them")
        case ev.AlsoSeen():
            return _also_seen(event)
        case ev.Unrecognised():
            return Link(event.at_ms, "unread", "", f"evidence that cannot be read: {event.why}")
        case ev.DomainChanged():
            return Link(event.at_ms, "domain", "", f"{event.name} is {event.state}")
        case ev.Dom0Changed():
            state = "hurt" if event.hurt else "able" if event.has_handler else "without a handler"
            return Link(event.at_ms, "Dom0", "B.3", f"Dom0 is {state}")
        case ev.Intended():
            return Link(event.at_ms, "order", event.row, step_in_words(event.step, names))
        case ev.Carried():
            return _carried(event, orders.get(event.order, f"order {event.order}"))
        case ev.Closed():
            return Link(
                event.at_ms,
                "outcome",
                event.outcome[0].row if event.outcome else "",
                "; ".join(outcome_in_words(entry, names) for entry in event.outcome),
            )
        case ev.Started():
            return Link(
                event.at_ms, "start", "", f"Ringfence {event.version}, life {event.life}, on {event.hypervisor}"
            )
        case ev.Stopped():
            return Link(event.at_ms, "stop", "", f"Ringfence stops: {event.because}")
        case ev.PolicyLoaded():
            by = f", loaded by {event.who}" if event.who else ""
            return Link(event.at_ms, "policy", "", f"policy {event.digest} applies from now on{by}")
        case ev.ConfigurationLoaded():
            return _configuration(event)
        case ev.Compacted():
            text = f"{event.events} old events left the journal, up to {event.upto}: {event.because}"
            return Link(event.at_ms, "journal", "", text)
        case ev.Salvaged():
            gone = (
                f"{event.lost} are lost, between {event.lost_from} and {event.lost_to}"
                if event.lost
                else "none is lost"
            )
            text = f"{event.read} events were saved from a damaged journal, {gone}: {event.because}"
            return Link(event.at_ms, "journal", "", text)
        case _:
            return None


def _reason(reason: ev.Reason) -> Iterator[str]:
    """A reason; of what the hypervisor did before anybody was asked, also what the concept wants in its place."""
    yield f"{reason.row}: {reason.because}"
    if reason.because.startswith(_PREEMPTED) and reason.row in _ASKS:
        yield f"{reason.row}: what the concept wants in its place: {_ASKS[reason.row]}"


_PREEMPTED: Final = "preempted: "
"""How it begins to be told that the hypervisor took a row away (decision.decide, service.treatment)."""

_ASKS: Final = {str(row): meaning.happens for row, meaning in MEANINGS.items()}


def part_in_words(suspect: str, name: str) -> str:
    """A part as people name it: its kind stands before its name, but where the name says it."""
    *_, kind, _ = ("", "", *name.split(" "))
    says_it = kind == suspect or name.lower().startswith((suspect.lower(), "cpu "))
    return name if says_it else f"{suspect} {name}"


def _cleared(event: ev.Cleared) -> Link:
    by = f" by {event.who}" if event.who else ""
    serial = f", serial number {event.serial} is in its place" if event.serial else ""
    text = f"{part_in_words(event.suspect, event.name)}: {event.how}{by}{serial}"
    return Link(event.at_ms, "cleared", "", text, (event.because,) if event.because else ())


def _configuration(event: ev.ConfigurationLoaded) -> Link:
    what = f"configuration {event.path} ({event.digest})" if event.path else "the default configuration"
    by = f", loaded by {event.who}" if event.who else ""
    details = tuple(
        f"{', '.join(keys)}: changed, {when}"
        for keys, when in ((event.at_once, "holds at once"), (event.at_restart, "holds at the next start"))
        if keys
    )
    return Link(event.at_ms, "config", "", f"{what} applies from now on{by}", details)


def registers_in_words(record: Record) -> str:
    """The registers that a record has, by name, in hexadecimal."""
    given = ((name, getattr(record.registers, name)) for name in type(record.registers).__slots__)
    return ", ".join(f"{name} {value:#x}" for name, value in given if value is not None)


def _received(event: ev.Received) -> list[Link]:
    finding = diagnose(event.record)
    where = f"CPU {event.record.cpu}" if event.record.cpu is not None else "a CPU that is not named"
    came = f"sighting {event.sighting} by {event.source}: " if event.sighting is not None else ""
    origin = f"{came}found in {event.sink}: history" if event.left_over else f"{came}{event.record.format}"
    raw = Link(
        event.at_ms, "evidence", "", f"bank {event.record.bank} of {where} ({origin})",
        (printable(registers_in_words(event.record)),),
    )  # fmt: skip
    reasons = tuple(f"{reason.because} [{reason.rule}; {reason.cite}]" for reason in finding.reasons)
    row = "B.2" if event.left_over else "I.2a" if event.corrected else "I.1"
    # What is told late must not be taken for something that happens now.
    then = iso(event.record.time) if event.happened_ms is not None else None
    text = f"{finding.summary} (it happened {then})" if then is not None else finding.summary
    return [Link(event.at_ms, "finding", row, text, (*reasons, *finding.assumptions)), raw]


def _repeated(event: ev.Repeated) -> Link:
    """Many reports of one kind, told as one."""
    errors = f", of {event.count} errors each" if event.count > 1 else ""
    pages = f"; {len(event.pages)} page{'s' * (len(event.pages) != 1)} named" if event.pages else ""
    kept = "" if event.packed else "; kept by number and page, not one by one"
    like = "" if event.alike else " (the first of them; the others are of its kind)"
    return Link(
        event.at_ms, "finding", "I.2a" if event.corrected else "I.1",
        f"{event.reports:,} reports together{errors}: {event.summary}{like}{pages}{kept}",
    )  # fmt: skip


def _also_seen(event: ev.AlsoSeen) -> Link:
    """A further piece of evidence, and what it adds."""
    adds = f", and names its {', '.join(event.adds)}" if event.adds else ""
    text = f"{event.report.source} reports sighting {event.of} as well ({event.rule}){adds}"
    return Link(event.at_ms, "also seen", "", text, (event.report.summary,))


def _lost_by(event: ev.Lost) -> Link:
    """What a source of the host's own could not give."""
    count = f"{event.count} {event.unit}" if event.exact else f"{event.count} {event.unit} or more"
    lost = f"some {event.unit} may be missing" if event.count == 0 else f"{count} are missing"
    return Link(event.at_ms, "lost", "", f"{event.source}: {lost}: {event.why}")


def _impacted(event: ev.Impacted, names: Mapping[DomainId, str]) -> Link:
    text = f"{_took(event.consumer, names)}; {_lost(event, names)} ({event.certainty})"
    grounds = tuple(
        f"{'' if each.supports else 'against: '}{each.because} [{each.row}{'; ' if each.cite else ''}{each.cite}]"
        for each in event.grounds
    )
    return Link(event.at_ms, "impact", "B.1", text, grounds)


def _took(consumer: ev.Hit, names: Mapping[DomainId, str]) -> str:
    if consumer.party != Party.NOBODY:
        return f"{_party(consumer, names)} took the error in ({consumer.certainty})"
    if consumer.certainty == Certainty.PROVEN:
        return "nobody took the error in"
    return f"who took the error in cannot be told ({consumer.certainty})"


def _lost(event: ev.Impacted, names: Mapping[DomainId, str]) -> str:
    losers = ", ".join(_party(loser, names) for loser in event.losers)
    if event.certainty == Certainty.PROVEN:
        return f"{losers} lost something" if losers else "nobody lost anything"
    return f"{losers} lost something, and perhaps others did" if losers else "who lost something cannot be told"


def _party(hit: ev.Hit, names: Mapping[DomainId, str]) -> str:
    if hit.domain is None:
        return str(hit.party)
    pages = f" ({len(hit.pages)} page{'s' if len(hit.pages) != 1 else ''})" if hit.pages else ""
    return f"{_whom(hit.domain, names)}{pages}"


def _carried(event: ev.Carried, step: str) -> Link:
    because = f": {event.because}" if event.because else ""
    row = "II.4" if event.status is Status.REFUSED else ""
    return Link(event.at_ms, "result", row, f"{step}: {event.status}{because}", event.declared)


def step_in_words(step: ev.StepWire, names: Mapping[DomainId, str]) -> str:
    """A step as a person says it: "MigrateDomain web1, destination other"."""
    parts: list[str] = []
    for name, value in step.given:
        if name == "domain" and isinstance(value, int):
            parts.insert(0, _whom(DomainId(value), names))
        elif name in {"frame", "page"} and isinstance(value, int):
            parts.append(f"{name} {value:#x}")
        elif name in {"frames", "pages"} and isinstance(value, tuple):
            parts += [f"{name.removesuffix('s' if len(value) == 1 else '')} {_numbers(value)}"] if value else []
        elif isinstance(value, bool):
            parts += [name.replace("_", " ")] if value else []
        elif value not in {None, ()}:
            parts.append(f"{name.removesuffix('_ms')} {value}")
    return f"{step.kind} {', '.join(parts)}".rstrip()


NUMBERS_SHOWN: Final = 8
"""Of a step's pages; the journal has all of them."""


def _numbers(values: tuple[object, ...]) -> str:
    shown = ", ".join(f"{each:#x}" for each in values[:NUMBERS_SHOWN] if isinstance(each, int))
    more = len(values) - NUMBERS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def outcome_in_words(entry: ev.OutcomeEntry, names: Mapping[DomainId, str]) -> str:
    """What became of one part of a case. A row that was preempted is not what it ended by."""
    if entry.because.startswith(_PREEMPTED):
        return f"{_whom(entry.domain, names)}: {entry.state.replace('_', ' ')}; {entry.row} {entry.because}"
    return f"{_whom(entry.domain, names)}: {entry.state.replace('_', ' ')} by {entry.row}; {entry.because}"


def _whom(domain: DomainId | None, names: Mapping[DomainId, str]) -> str:
    if domain is None:
        return "the host"
    return printable(names[domain]) if domain in names else f"domain {domain}"


def clock(at_ms: int) -> str:
    """A time on the host's clock: hours, minutes, seconds, milliseconds."""
    seconds, ms = divmod(at_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{ms:03}"


def moment(at_ms: int, epoch_ms: int | None) -> str:
    """A time on the host's clock: in UTC if it is known when its 0 was."""
    return clock(at_ms) if epoch_ms is None else to_the_ms(epoch_ms + at_ms)


def text(shown: Chain) -> str:
    """A chain as text for a terminal."""
    state = "open" if shown.is_open else "closed"
    what = f"case {shown.case}, {state}" if shown.case is not None else f"event {shown.event}, no case"
    lines = [f"{what}: {printable(shown.title)}"]
    indent = max((len(moment(each.at_ms, shown.epoch_ms)) for each in shown.links), default=0) + _LABEL
    for each in shown.links:
        row = f"[{each.row}] " if each.row else ""
        lead = f"{moment(each.at_ms, shown.epoch_ms)}  {each.what:<{_LABEL - 4}}"
        lines += _wrapped(lead, indent, f"{row}{printable(each.text)}")
        for detail in each.details:
            lines += _wrapped("", indent, f"- {printable(detail)}")
    lead = " " * (indent - _LABEL) + "  followed by"
    lines += (f"{lead:<{indent}}case {case}" for case in shown.followed_by)
    return "\n".join(lines) + "\n"


def _wrapped(lead: str, indent: int, words: str) -> list[str]:
    return textwrap.wrap(
        words,
        indent + _WIDTH,
        initial_indent=f"{lead:<{indent}}",
        subsequent_indent=" " * indent,
        break_long_words=False,
    ) or [lead]


@dataclass(slots=True)
class Listed:
    """What a journal's events come to, event by event: each case with its title and its end, and how often each sort of
    record came that made none, with the number of the last. Domains are named as they were called then.
    """

    titles: dict[CaseId, str] = field(default_factory=dict)
    outcomes: dict[CaseId, tuple[str, ...]] = field(default_factory=dict)
    records: dict[str, tuple[int, int]] = field(default_factory=dict)
    _names: dict[DomainId, str] = field(default_factory=lambda: {DOM0: "Domain-0"})

    def add(self, number: int, event: ev.Stored) -> None:
        """One event more, in the journal's order."""
        if isinstance(event, ev.DomainChanged):
            self._names[event.domain] = event.name
        case = getattr(event, "case", None)
        if case is not None:
            self.titles[case] = self.titles.get(case) or _title(event, self._names)
            if isinstance(event, ev.Closed):
                self.outcomes[case] = tuple(outcome_in_words(entry, self._names) for entry in event.outcome)
        elif isinstance(event, ev.Received | ev.Repeated):
            count, _ = self.records.get(event.summary, (0, 0))
            more = event.reports if isinstance(event, ev.Repeated) else 1
            self.records[event.summary] = count + more, number


def listing(listed: Listed) -> Iterator[str]:
    """Every case with its end, then the records that made none, those of one kind together."""
    for case, title in listed.titles.items():
        yield f"{case:>16}  {printable(title or _UNTITLED)}"
        yield from (f"{'':>16}  -> {printable(line)}" for line in listed.outcomes.get(case) or ("still open",))
    if listed.records:
        yield "\nrecords that made no case (ringfence explain --event NUMBER):"
    for summary, (count, last) in listed.records.items():
        yield f"{last:>16}  {printable(summary)}" + (f" ({count} times; the last)" if count > 1 else "")
    if not listed.titles and not listed.records:
        yield "nothing has been received yet"


def as_json(shown: Chain) -> dict[str, object]:
    """A chain as one JSON object."""
    return {
        "case": shown.case,
        "event": shown.event,
        "epoch_wall_ms": shown.epoch_ms,
        "open": shown.is_open,
        "title": shown.title,
        "links": [
            {"at_ms": each.at_ms, "what": each.what, "row": each.row, "text": each.text, "details": list(each.details)}
            for each in shown.links
        ],
        "outcome": list(shown.outcome),
        "followed_by": list(shown.followed_by),
    }
