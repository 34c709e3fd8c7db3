"""One report at a time: is it of an error that is known already, or of a new one?

An error is journaled with its first report, at once: nothing waits for what other sources may say of it. Every further
report is attached to it. Within a source, ``diagnosis.events`` tells which reports are one (a bank read twice, by two
hyperthreads, by every CPU of a broadcast); between sources, the rules of ``joining`` do, under the same three
conditions. What differs from joining all reports at once (``joining.join``): a report that comes first is an error by
itself, even if one that comes later shows that it was another's; a report that could be of several errors that can be
told apart is an error by itself and says so (``New.could_be``). Both count too much rather than too little.

Memory is bounded by ``KEPT``. A further report of an error that has left it counts as a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ringfence.diagnosis.events import Folder, Relation
from ringfence.diagnosis.finding import ProcessorMemory, diagnose
from ringfence.diagnosis.severity import Severity, is_judgeable
from ringfence.record.evidence import Record
from ringfence.service.sources.joining import (
    RULES,
    WINDOW_S,
    Aspect,
    Group,
    Interval,
    Rule,
    Seen,
    Sighting,
    accounts,
    are_one,
    meet,
    seen_of,
)

KEPT: Final = 4096
"""Reports that later ones are compared with, of all sources: some 16 MB. After a start, sources are read one after the
other, and each may tell of so many errors again that another has told of."""
LOOKED_AT: Final = 256
"""Of those that share what a rule asks for, the newest: a storm of equal errors is not gone through at each one."""
COUNTER: Final = "counter"
"""The rule by which a counter's difference goes with the errors that it has counted."""


@dataclass(frozen=True, slots=True)
class New:
    """An error of its own, with the number that it has from now on.

    ``count`` is what a counter has counted beyond the errors that are known; None if the record says it.
    """

    number: int
    record: Record
    count: int | None = None
    could_be: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Further:
    """One more report of the error ``of``, by a rule. ``presses``: it says that the error was consumed, or names a
    page, and no report had done so before: whoever treats the error has to hear it.
    """

    of: int
    record: Record
    rule: str
    presses: bool = False


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A report that does not say how bad it is, and is of no error that is known."""

    record: Record


Placed = New | Further | Unjudged


@dataclass(slots=True)
class _Error:
    """What is known of an error from all of its reports. ``spent``: the counters that have counted it."""

    worst: Severity = Severity.NONE
    names_a_page: bool = False
    count: int = 1
    spent: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Known:
    """Reports that agree in every way, of the error ``of``; ``keys`` is where the index has them."""

    of: int
    group: Group
    keys: set[tuple[str, Hashable]] = field(default_factory=set)


@dataclass(slots=True)
class _Channel:
    """What is known of one source: which of its reports are one, and which processor it spoke of last."""

    folder: Folder = field(default_factory=Folder)
    numbers: OrderedDict[int, int] = field(default_factory=OrderedDict)
    processor: ProcessorMemory = field(default_factory=ProcessorMemory)

    def remember(self, event: int, of: int) -> None:
        self.numbers[event] = of
        self.numbers.move_to_end(event)
        while len(self.numbers) > KEPT:
            self.numbers.popitem(last=False)


class Attaching:
    """The errors that reports are compared with. ``first_number``: no error has had it or one above."""

    def __init__(self, first_number: int = 1) -> None:
        self._next = first_number
        self._reports = 0
        self._channels: dict[str, _Channel] = {}
        self._errors: OrderedDict[int, _Error] = OrderedDict()
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._index: dict[tuple[str, Hashable], dict[int, None]] = {}

    # --- what is journaled already -----------------------------------------------------------------------------------

    def recall(self, source: str, record: Record, of: int, rule: str = "") -> None:
        """A report that the journal holds, of the error ``of``: later ones are compared with it."""
        self._next = max(self._next, of + 1)
        channel = self._channel(source)
        channel.processor.complete(record)
        event, _ = channel.folder.place(record)
        channel.remember(event, of)
        if rule != COUNTER:
            self._learn(of, self._seen(source, record), attached=rule in _BETWEEN)

    # --- what comes --------------------------------------------------------------------------------------------------

    def place(self, source: str, record: Record) -> Placed:
        """What a report is of. It is compared with the next ones from now on."""
        channel = self._channel(source)
        record = channel.processor.complete(record)
        event, relation = channel.folder.place(record)
        judgeable = is_judgeable(record)
        if relation is not Relation.NEW and not (relation is Relation.LATCHED and _is_consumed(record)):
            # Whoever handles a machine check clears the bank: what is consumed again is consumed anew.
            of = channel.numbers.get(event)
            if of is not None and of in self._errors:
                return self._further(of, self._seen(source, record), relation, attached=False)
        seen = self._seen(source, record)
        found, rule = self._partner(seen)
        if rule:
            of = found[0]
            channel.remember(event, of)
            return self._further(of, seen, rule, attached=True)
        if not judgeable:
            return Unjudged(record)
        of, self._next = self._next, self._next + 1
        channel.remember(event, of)
        self._learn(of, seen, attached=False)
        return New(of, record, could_be=found)

    def count(self, source: str, record: Record, interval: Interval) -> Placed:
        """What a counter's difference is of: the errors known that it has counted, and those that nobody else saw."""
        counter = seen_of(Sighting(self._number(), source, record, interval))
        rest, last = record.count, None
        counted = {each.of: None for each in self._known.values() if accounts(_sightings(each), counter)}
        for of in counted:
            error = self._errors.get(of)
            if rest <= 0:
                break
            if error is None or source in error.spent:
                continue
            error.spent.add(source)
            rest -= error.count
            last = of
        if rest <= 0 and last is not None:
            return Further(last, record, COUNTER)
        of, self._next = self._next, self._next + 1
        self._errors[of] = _Error(count=rest, spent={source})
        return New(of, record, rest)

    # --- comparing ---------------------------------------------------------------------------------------------------

    def _partner(self, seen: Seen) -> tuple[tuple[int, ...], str]:
        """The error that this report is of, and by which rule; without a rule, the errors that it could be of."""
        alone = Group([seen])
        for rule in RULES:
            key = rule.key(seen)
            partners = list(self._partners(rule, key, alone)) if key is not None else []
            if not partners:
                continue
            first = partners[0]
            if all(each.of == first.of or are_one(first.group, each.group) for each in partners[1:]):
                # Which of those that are alike makes no difference: they are taken in the order of time.
                return (min(partners, key=_time).of,), rule.name
            return tuple(sorted({each.of for each in partners})), ""
        return (), ""

    def _partners(self, rule: Rule, key: Hashable, alone: Group) -> Iterator[_Known]:
        taken = {each.channel for each in alone.members if each.aspect is not Aspect.PAGE}
        for looked, number in enumerate(reversed(self._index.get((rule.name, key), {}))):
            if looked >= LOOKED_AT:
                return
            known = self._known[number]
            if taken & known.group.channels or (rule.needs_time and not alone.is_near(known.group, WINDOW_S)):
                continue
            if meet(alone, known.group, rule):
                yield known

    # --- remembering -------------------------------------------------------------------------------------------------

    def _channel(self, source: str) -> _Channel:
        return self._channels.setdefault(source, _Channel())

    def _number(self) -> int:
        self._reports += 1
        return self._reports

    def _seen(self, source: str, record: Record) -> Seen:
        return seen_of(Sighting(self._number(), source, record))

    def _further(self, of: int, seen: Seen, rule: str, *, attached: bool) -> Further:
        presses = self._learn(of, seen, attached=attached)
        return Further(of, seen.sighting.record, rule, presses)

    def _learn(self, of: int, seen: Seen, *, attached: bool) -> bool:
        """Remember a report of an error; whether it changes what has to be done about it."""
        record = seen.sighting.record
        error = self._errors.pop(of, None)
        is_first = error is None
        error = error or _Error()
        self._errors[of] = error
        finding = diagnose(record) if is_judgeable(record) else None
        names_a_page = seen.fact("frame") is not None
        severity = finding.severity if finding is not None else Severity.NONE
        is_worse = severity.badness > error.worst.badness
        # What nobody has consumed is treated alike, by whatever name.
        presses = not is_first and (
            (is_worse and severity in _CONSUMED)
            or (severity.badness > Severity.CORRECTED.badness and names_a_page and not error.names_a_page)
        )
        error.worst = severity if is_worse else error.worst
        error.names_a_page |= names_a_page
        error.count = max(error.count, record.count)
        known = self._group_of(of, seen) if attached else None
        if known is None:
            known = self._known[seen.sighting.number] = _Known(of, Group([]))
        known.group.members.append(seen)
        self._put_in_index(known, seen)
        self._forget()
        return presses

    def _group_of(self, of: int, seen: Seen) -> _Known | None:
        """The reports of an error that this one goes with."""
        alone = Group([seen])
        for rule in RULES:
            key = rule.key(seen)
            for number in reversed(self._index.get((rule.name, key), {})):
                known = self._known[number]
                if known.of == of and meet(alone, known.group, rule):
                    return known
        return None

    def _put_in_index(self, known: _Known, seen: Seen) -> None:
        number = known.group.members[0].sighting.number
        for rule in RULES:
            key = rule.key(seen)
            if key is not None and (rule.name, key) not in known.keys:
                known.keys.add((rule.name, key))
                self._index.setdefault((rule.name, key), {})[number] = None

    def _forget(self) -> None:
        while len(self._known) > KEPT:
            number, old = self._known.popitem(last=False)
            for key in old.keys:
                self._index[key].pop(number)
                if not self._index[key]:
                    del self._index[key]
        while len(self._errors) > KEPT:
            self._errors.popitem(last=False)


_BETWEEN: Final = frozenset(rule.name for rule in RULES)
"""Rules that join reports of different sources; others are a source's own."""


_CONSUMED: Final = frozenset({Severity.SRAR, Severity.FATAL})


def _sightings(known: _Known) -> Iterable[Sighting]:
    return (seen.sighting for seen in known.group.members)


def _is_consumed(record: Record) -> bool:
    return is_judgeable(record) and diagnose(record).severity is Severity.SRAR


def _time(known: _Known) -> float:
    times = [seen.time for seen in known.group.members if seen.time is not None]
    return min(times, default=float("inf"))
