"""One physical error, seen by several sources, is one event with several pieces of evidence. Pure.

A machine check goes many ways at once: into the kernel's log, out of mce:mce_record and /dev/mcelog, through EDAC's
ras:mc_event, through memory_failure_event if a page is poisoned, through firmware's records, into EDAC's counters.
Which reports are of one error is decided by ``RULES``, from the strongest to the weakest, under three conditions that
hold for every rule:

1. *One of each.* A source reports an error once in each aspect: two reports of the same channel (source and aspect)
   are two errors. So a storm of equal errors is counted as often as the source that saw most of them says. What the
   kernel did with a page may take several reports.
2. *No contradiction.* Two reports that both give a field give the same value (``contradiction``), whatever else agrees.
3. *In time.* All reports of an event lie within ``WINDOW_S``; a report without a time is joined by rule ``tsc`` alone.

Where a report would go with several events that are not of one error, it stays by itself and says of which it could be
(``Joined.could_be``): two different errors are never made one while each has a report that tells it from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations, product
from typing import Final

from ringfence.arch.cpuid import Vendor
from ringfence.arch.mci_status import ADDRV, DEFERRED, UC
from ringfence.decode.decoder import decode
from ringfence.decode.meaning import AddressKind
from ringfence.record.evidence import ClaimedSeverity, Format, Record

WINDOW_S: Final = 2.5
"""The reports of one error lie so close together: the kernel hands it to all its ways within milliseconds, but
``struct mce`` and rasdaemon's table have whole seconds, cut off, and clocks made wall time later differ a bit."""

_LINE_SHIFT, _PAGE_SHIFT = 6, 12
_PHYSICAL_BITS: Final = (1 << 52) - 1
"""Of an address: no processor has more (SDM vol. 3A 4.1.4; APM vol. 2 5.3); what stands above is no address."""


class Aspect(StrEnum):
    """What of an error a report describes: no source gives one error twice in the same aspect."""

    REGISTERS = "registers"
    MEMORY = "memory"
    FIRMWARE = "firmware"
    PAGE = "page"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Interval:
    """From when to when a counter was watched, in seconds since 1970."""

    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """A report as it arrived: ``number`` in order of arrival, ``interval`` for the difference of a counter."""

    number: int
    source: str
    record: Record
    interval: Interval | None = None

    @property
    def aspect(self) -> Aspect:
        """What it describes."""
        if self.interval is not None:
            return Aspect.COUNTER
        if self.record.registers.status is not None:
            return Aspect.REGISTERS
        if self.record.format in {Format.MEMORY_FAILURE, Format.QEMU}:
            return Aspect.PAGE
        return Aspect.MEMORY if self.record.format is Format.EDAC else Aspect.FIRMWARE


@dataclass(frozen=True, slots=True)
class Joined:
    """One event: its sightings in order of arrival, and by which rules they were joined.

    ``count``: how many errors it stands for; of a counter, those that no other report accounts for. ``could_be``: the
    numbers of the first sightings of events that this one may be part of, when that cannot be told.
    """

    sightings: tuple[Sighting, ...]
    rules: tuple[str, ...] = ()
    count: int = 1
    could_be: tuple[int, ...] = ()


Facts = tuple[Hashable, ...]
"""What a report says of the error, in the order of ``FACTS``; None is "it does not say"."""

_REGISTERS: Final = ("status", "addr", "misc", "synd", "ipid", "ppin", "tsc")
_PLACES: Final = ("bank", "cpu", "socket", "apicid", "cpuid", "vendor")
_MEMORY: Final = ("label", "syndrome", "row", "column")
FACTS: Final = (*_REGISTERS, *_PLACES, *_MEMORY, "count", "corrected", "line", "frame")
"""In which two reports of one error agree where both say something.

Places are those of reports with registers: EDAC and firmware count sockets in their own ways. ``line`` and ``frame``
are numbers of a cache line and a page of the machine's memory.
"""
_TSC: Final = FACTS.index("tsc")


@dataclass(frozen=True, slots=True)
class Seen:
    """A sighting and what the rules ask for, worked out once (``seen_of``)."""

    sighting: Sighting
    aspect: Aspect
    time: float | None
    facts: Facts

    @property
    def channel(self) -> tuple[str, Aspect]:
        """What gives an error once: a source, in one aspect."""
        return self.sighting.source, self.aspect

    def fact(self, name: str) -> Hashable:
        """One of ``FACTS``."""
        return self.facts[FACTS.index(name)]


def is_corrected(record: Record) -> bool | None:
    """Whether hardware corrected it; None if nobody says. Deferred errors (AMD) are not corrected."""
    status, memory = record.registers.status, record.memory
    if status is not None:
        # Bit 44 is Deferred on AMD alone; elsewhere it belongs to the corrected error count.
        amd = record.vendor in {Vendor.AMD, Vendor.HYGON} or record.registers.ipid is not None
        return not (UC.of(status) or (amd and DEFERRED.of(status)))
    if memory is None or memory.severity is None:
        return None
    return memory.severity in {ClaimedSeverity.CORRECTED, ClaimedSeverity.INFORMATIONAL}


def facts(record: Record) -> Facts:
    """What a report says of its error, in the order of ``FACTS``."""
    line = frame = None
    if record.registers.status is not None or record.memory is not None:
        # The decoder knows which MCi_ADDR are the machine's physical addresses (not linear, not a channel's own).
        address = decode(record).reading.address
        if address.kind is AddressKind.PHYSICAL and address.value is not None:
            granularity = address.granularity_bytes or 1
            line = address.value >> _LINE_SHIFT if granularity <= 1 << _LINE_SHIFT else None
            frame = address.value >> _PAGE_SHIFT if granularity <= 1 << _PAGE_SHIFT else None
    has_registers, memory = record.registers.status is not None, record.memory
    return (
        *(getattr(record.registers, name) for name in _REGISTERS),
        *(getattr(record, name) if has_registers else None for name in _PLACES),
        *(getattr(memory.location, name) if memory is not None else None for name in _MEMORY),
        record.count if memory is not None else None,
        is_corrected(record),
        line,
        frame,
    )


def seen_of(sighting: Sighting) -> Seen:
    """A sighting with what the rules ask for."""
    return Seen(sighting, sighting.aspect, sighting.record.time, facts(sighting.record))


def contradiction(one: Facts, other: Facts) -> str | None:
    """The first fact that both give and give differently; None if nothing speaks against one error."""
    for name, mine, theirs in zip(FACTS, one, other, strict=True):
        if mine is not None and theirs is not None and mine != theirs:
            return name
    return None


# --- the rules -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """When two reports that nothing speaks against are of one error.

    ``key``: what both must have and share. ``pairs``: which aspects may meet, in either order. ``needs_time``: both
    must have a time, within the window.
    """

    name: str
    doc: str
    key: Callable[[Seen], Hashable | None]
    pairs: frozenset[frozenset[Aspect]]
    needs_time: bool = True


def _tsc(seen: Seen) -> Hashable | None:
    registers = seen.sighting.record.registers
    return (registers.status, registers.tsc) if registers.status is not None and registers.tsc else None


def _registers(seen: Seen) -> Hashable | None:
    record = seen.sighting.record
    if record.registers.status is None or record.bank is None:
        return None
    return record.registers.status, record.bank


def _line(seen: Seen) -> Hashable | None:
    return seen.fact("line")


def _device(seen: Seen) -> Hashable | None:
    memory = seen.sighting.record.memory
    if memory is None or memory.location.label is None or seen.sighting.record.registers.status is not None:
        return None
    return memory.location.label, memory.error, memory.severity


def _page(seen: Seen) -> Hashable | None:
    """The page of an uncorrected error. Of a bank whose MCi_ADDR is of no kind that the decoder knows, it is the frame
    that the kernel makes of it: that one goes to memory_failure() (arch/x86/kernel/cpu/mce/core.c, uc_decode_notifier).
    """
    if seen.fact("corrected") is True:
        return None
    registers = seen.sighting.record.registers
    if seen.fact("frame") is not None or seen.aspect is not Aspect.REGISTERS or registers.addr is None:
        return seen.fact("frame")
    return (registers.addr & _PHYSICAL_BITS) >> _PAGE_SHIFT if ADDRV.of(registers.status or 0) else None


def _among(*aspects: Aspect) -> frozenset[frozenset[Aspect]]:
    return frozenset(frozenset(pair) for pair in product(aspects, aspects))


_R, _M, _F, _P = Aspect.REGISTERS, Aspect.MEMORY, Aspect.FIRMWARE, Aspect.PAGE

RULES: Final = (
    Rule(
        "tsc",
        "The same MCi_STATUS with the same time stamp counter is the same latched bank, whenever it is reported: as it "
        "happened, and once more out of pstore or ERST after the boot (SDM vol. 3B 17.3.2.1; the kernel reads the "
        "counter once per record, arch/x86/kernel/cpu/mce/core.c, mce_setup).",
        _tsc,
        _among(_R),
        needs_time=False,
    ),
    Rule(
        "registers",
        "The same MCi_STATUS of the same bank, no other register or place differing, at the same time: the kernel "
        "hands one struct mce to its log, its trace event and /dev/mcelog (arch/x86/kernel/cpu/mce/core.c).",
        _registers,
        _among(_R),
    ),
    Rule(
        "line",
        "The same cache line of physical memory at the same time, both corrected or both not: EDAC's drivers and APEI "
        "take the address from MCi_ADDR or firmware's section and hand it on in the same work.",
        _line,
        _among(_R, _M, _F) - {frozenset({_R})},
    ),
    Rule(
        "device",
        "EDAC's report of the same DIMM with the same words at the same time, where the driver knows no address: "
        "edac_mc.c prints and traces each report once (edac_raw_mc_handle_error).",
        _device,
        _among(_M) | {frozenset({_M, _F})},
    ),
    Rule(
        "page",
        "What the kernel (and then QEMU) did with a poisoned page, and an uncorrected error in that page, at the same "
        "time (mm/memory-failure.c is called from the handler of either, and signals QEMU).",
        _page,
        frozenset({frozenset({_P, _R}), frozenset({_P, _M}), frozenset({_P, _F}), frozenset({_P})}),
    ),
)
"""From the strongest to the weakest; each joins what the ones before left apart."""


# --- joining ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Group:
    """An event in the making."""

    members: list[Seen]
    rules: list[str] = field(default_factory=list)
    could_be: set[int] = field(default_factory=set)

    @property
    def first(self) -> int:
        """The number of the sighting that came first."""
        return min(seen.sighting.number for seen in self.members)

    @property
    def channels(self) -> frozenset[tuple[str, Aspect]]:
        """Of which there can be no second; several reports of what became of a page can be of one error."""
        return frozenset(seen.channel for seen in self.members if seen.aspect is not Aspect.PAGE)

    @property
    def kind(self) -> Hashable:
        """Groups of one kind differ in time and time stamp counter only."""
        return frozenset(
            (seen.channel, seen.time is None, _device(seen), seen.facts[:_TSC], seen.facts[_TSC + 1 :])
            for seen in self.members
        )

    @property
    def identity(self) -> tuple[frozenset[Hashable], ...]:
        """What is known of the error: groups that are equal in it cannot be told apart."""
        known = [frozenset(values) - {None} for values in zip(*(seen.facts for seen in self.members), strict=True)]
        return tuple(known[:_TSC] + known[_TSC + 1 :])

    def fits(self, other: Group) -> bool:
        """Whether no fact of the one speaks against a fact of the other."""
        pairs = product(self.members, other.members)
        return all(contradiction(mine.facts, theirs.facts) is None for mine, theirs in pairs)

    def is_near(self, other: Group, window_s: float) -> bool:
        """Whether all reports of both have a time, within the window."""
        times = [seen.time for seen in (*self.members, *other.members)]
        known = [time for time in times if time is not None]
        return len(known) == len(times) and max(known) - min(known) <= window_s


def meet(one: Group, other: Group, rule: Rule) -> bool:
    """Whether a rule joins a report of the one with one of the other, and nothing speaks against it but time."""
    if one.channels & other.channels:
        return False
    return any(
        frozenset({mine.aspect, theirs.aspect}) in rule.pairs
        and (key := rule.key(mine)) is not None
        and key == rule.key(theirs)
        for mine, theirs in product(one.members, other.members)
    ) and one.fits(other)


def are_one(one: Group, other: Group) -> bool:
    """Whether two that a third would go with can be of one error, or are equal, so that either will do."""
    return one.identity == other.identity if one.channels & other.channels else one.fits(other)


class _Kinds:
    """The groups of a bucket by kind: what rules and facts say is asked once for each pair of kinds."""

    def __init__(self, bucket: Sequence[Group], rule: Rule, window_s: float) -> None:
        self._rule, self._window_s = rule, window_s
        self.by_kind: dict[Hashable, list[Group]] = {}
        self._kind_of: dict[int, Hashable] = {}
        for group in bucket:
            kind = self._kind_of[id(group)] = group.kind
            self.by_kind.setdefault(kind, []).append(group)
        examples = [(kind, _untimed(groups[0])) for kind, groups in self.by_kind.items()]
        # The counter of an example is its own: it may not speak against others of its kind.
        self._partners = {
            kind: [
                theirs
                for theirs, other in examples
                if kind != theirs and meet(_untimed(example), _untimed(other), rule)
            ]
            for kind, example in examples
        }
        self._one: dict[frozenset[Hashable], bool] = {}

    def partners(self, group: Group) -> dict[Hashable, list[Group]]:
        """The groups that this one may be joined with, by kind, each in the order of time."""
        found = {}
        for kind in self._partners[self._kind_of[id(group)]]:
            near = [other for other in self.by_kind[kind] if self.agree(group, other)]
            if near:
                found[kind] = near
        return found

    def agree(self, group: Group, other: Group) -> bool:
        """Whether time and time stamp counters do not speak against two of kinds that are partners."""
        if self._rule.needs_time and not group.is_near(other, self._window_s):
            return False
        mine = {seen.facts[_TSC] for seen in group.members} - {None}
        theirs = {seen.facts[_TSC] for seen in other.members} - {None}
        return not (mine and theirs and mine != theirs)

    def is_ambiguous(self, kinds: Iterable[Hashable]) -> bool:
        """Whether it cannot be told which of several kinds is meant."""
        for pair in combinations(kinds, 2):
            key = frozenset(pair)
            if key not in self._one:
                one, other = (_untimed(self.by_kind[kind][0]) for kind in pair)
                self._one[key] = are_one(one, other)
            if not self._one[key]:
                return True
        return False


def _untimed(group: Group) -> Group:
    """A group without its time stamp counters."""
    return Group([replace(seen, facts=(*seen.facts[:_TSC], None, *seen.facts[_TSC + 1 :])) for seen in group.members])


def _buckets(groups: Sequence[Group], rule: Rule) -> dict[Hashable, list[Group]]:
    found: dict[Hashable, list[Group]] = {}
    for group in groups:
        for key in dict.fromkeys(rule.key(seen) for seen in group.members):
            if key is not None:
                found.setdefault(key, []).append(group)
    return {key: bucket for key, bucket in found.items() if len(bucket) > 1}


def _apply(rule: Rule, groups: list[Group], window_s: float) -> list[Group]:
    """The groups after a rule. Alike candidates are taken in the order of time: which is which makes no difference."""
    gone: set[int] = set()
    for whole in _buckets(groups, rule).values():
        bucket = [group for group in whole if id(group) not in gone]
        kinds = _Kinds(bucket, rule, window_s)
        partners = {id(group): kinds.partners(group) for group in bucket}
        barred = set()
        for group in bucket:
            if kinds.is_ambiguous(partners[id(group)]):
                group.could_be.update(other.first for near in partners[id(group)].values() for other in near)
                barred.add(id(group))
        for group in bucket:
            if id(group) in gone or id(group) in barred:
                continue
            for near in partners[id(group)].values():
                # One of each kind, unless they are reports of what became of a page.
                for other in near:
                    taken = id(other) in gone or id(other) in barred or other.channels & group.channels
                    if taken or not kinds.agree(group, other) or not group.fits(other):
                        continue
                    group.members.extend(other.members)
                    group.rules.extend((*other.rules, rule.name))
                    group.could_be |= other.could_be
                    gone.add(id(other))
                    if other.channels:
                        break
    return [group for group in groups if id(group) not in gone]


def join(sightings: Iterable[Sighting], window_s: float = WINDOW_S) -> tuple[Joined, ...]:
    """The events that the sightings are of, each sighting in exactly one, in the order of their first arrival.

    The result does not depend on the order in which sightings with different times arrived.
    """
    seen = [seen_of(sighting) for sighting in sightings]
    seen.sort(key=lambda item: (item.time if item.time is not None else float("inf"), item.sighting.number))
    groups = [Group([item]) for item in seen if item.aspect is not Aspect.COUNTER]
    for rule in RULES:
        groups = _apply(rule, groups, window_s)
    events = [_event(group) for group in groups]
    events = list(_with_counters(events, [item for item in seen if item.aspect is Aspect.COUNTER], window_s))
    return tuple(sorted(events, key=lambda event: event.sightings[0].number))


def _event(group: Group) -> Joined:
    members = sorted((seen.sighting for seen in group.members), key=lambda sighting: sighting.number)
    count = max(sighting.record.count for sighting in members)
    could_be = tuple(sorted(group.could_be - {sighting.number for sighting in members}))
    return Joined(tuple(members), tuple(dict.fromkeys(group.rules)), count, could_be)


# --- counters --------------------------------------------------------------------------------------------------------


def _with_counters(events: list[Joined], counters: Sequence[Seen], window_s: float) -> Iterator[Joined]:
    """A counter's difference is accounted for by the reports of the same errors; what is left is an event of its own.

    EDAC counts in the same function in which it prints and traces: only what the other sources lost is left over.
    """
    spent: set[tuple[int, str]] = set()
    added: dict[int, list[Sighting]] = {}
    alone: list[Joined] = []
    for counter in counters:
        sighting = counter.sighting
        matching = [
            event
            for event in events
            if (event.sightings[0].number, sighting.source) not in spent
            and accounts(event.sightings, counter, window_s)
        ]
        rest = sighting.record.count
        last: int | None = None
        for event in matching:
            if rest <= 0:
                break
            rest -= event.count
            last = event.sightings[0].number
            spent.add((last, sighting.source))
        if rest > 0 or last is None:
            alone.append(Joined((sighting,), (), max(rest, 0)))
        else:
            added.setdefault(last, []).append(sighting)
    for event in events:
        more = added.get(event.sightings[0].number, [])
        members = tuple(sorted((*event.sightings, *more), key=lambda sighting: sighting.number))
        yield Joined(members, (*event.rules, "counter"), event.count, event.could_be) if more else event
    yield from alone


def accounts(sightings: Iterable[Sighting], counter: Seen, window_s: float = WINDOW_S) -> bool:
    """Whether an error is one of those that EDAC counted: of the same DIMM, of the same kind, while it was watched."""
    interval, counted = counter.sighting.interval, counter.sighting.record.memory
    if interval is None or counted is None:
        return False
    for sighting in sightings:
        record = sighting.record
        if record.memory is None or (record.format is not Format.EDAC and record.registers.status is None):
            continue
        if record.time is None or not interval.since_s - window_s <= record.time <= interval.until_s + window_s:
            continue
        if record.memory.location.label is None or record.memory.location.label != counted.location.label:
            continue
        if is_corrected(record) is counter.fact("corrected"):
            return True
    return False
