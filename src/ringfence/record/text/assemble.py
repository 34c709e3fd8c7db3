"""From fragments to records: which lines belong together.

A log loses lines, interleaves CPUs, and may stand newest first. So fragments are taken a burst at a time:

1. a burst that stands in reverse is turned round (told by the order of a record's own lines, else by the stamps);
2. the kernel's records whose lines directly follow each other are taken first: they need no guess;
3. what is left over of interleaved records is joined in order of arrival, which is an assumption and listed as one;
4. formats that never interleave are read in sequence; lines that come before their head wait for it;
5. EDAC and memory-failure lines join the record they speak of (same address, or same error code), else stand alone;
6. what belongs to no record is ``Unrecognised``: it is evidence that cannot be read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from ringfence.record.evidence import (
    Evidence,
    Format,
    Lull,
)
from ringfence.record.text.drafts import JOIN_LINES, NO_STATUS, Burst, Draft
from ringfence.record.text.grammar import Fragment
from ringfence.record.text.joins import join_claim, join_edac, join_memory_failures
from ringfence.record.text.lines import Line
from ringfence.record.text.mce_inject import adopted

BURST_GAP_LINES = 40
"""Evidence further apart than this is not of one event's lines: a burst ends."""
BURST_MAX_FRAGMENTS = 512
"""A longer burst is cut at the next place where that changes nothing, to bound memory in a storm."""
_BURST_LIMIT_FACTOR = 8
"""If there is no such place, a burst is cut all the same when it has grown to so many times its size."""
_TAIL_PIECES = 16
"""More pieces than a record has, known lines between them included."""
LEADING_LINES = 8
"""Lines that come before their head (the severity of a decoded AMD record) wait at most this many lines for it."""

INTERLEAVED = "lines of several CPUs are interleaved: they were joined in order of arrival"
TAKEN_FROM_FEWER = (
    "several records began before their lines came, and some lines are missing: those that came were given to the "
    "record that began last; they, the address among them, may be another record's"
)
GIVEN_AWAY = (
    "several records began before their lines came, and some lines are missing: those that came were given to the "
    "record that began last; they, the address among them, may be this record's"
)
_PARTS_IN_ORDER = ("head", "rip", "tsc", "addr", "misc", "synd", "ipid", "ppin", "smca", "processor", "code", "level")
_RANK = {part: rank for rank, part in enumerate(_PARTS_IN_ORDER)}
_MCELOG_IN_ORDER = (
    "boundary", "CPU", "RIP", "ADDR+MISC", "TIME", "MCG", "MCA", "STATUS", "MCGCAP", "PPIN", "MICROCODE", "CPUID"
)  # fmt: skip
"""mcelog.c, dump_mce."""
_WRITTEN = {"context": -1} | _RANK | {part: rank for rank, part in enumerate(_MCELOG_IN_ORDER)}
"""In which order a record's lines are written. The last of one record and the first of the next say nothing of it."""
_LAST_PARTS = frozenset({"processor", "level", "CPUID"})
_CLAIM_PARTS = frozenset({"says", "panic", "fru"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A line and the fragment that it is; ``fragment`` None: it promises evidence and nothing can read it."""

    line: Line
    fragment: Fragment | None


WHOLE: Final = Fragment(Format.PRINTK, "whole")
"""Stands for a whole record of the kernel's that another reader has taken: leftovers do not reach across it."""


SILENCE: Final = Fragment(Format.PRINTK, "silence")
"""The source has fallen silent: what has come is complete."""


def _is_reversed(burst: Sequence[Piece]) -> bool:
    """Whether the log stands newest first: the order of a record's own lines decides, then the stamps.

    One whole record that stands forwards is proof enough: backwards its lines never come in that order.
    """
    if _has_whole_record(burst):
        return False
    forward = backward = 0
    later = earlier = 0
    for before, after in pairwise(burst):
        one, two = before.fragment, after.fragment
        if one is None or two is None:
            continue
        if one.format is two.format and one.part in _WRITTEN and two.part in _WRITTEN:
            if _WRITTEN[one.part] < _WRITTEN[two.part] and not (one.part == "head" and two.part == "processor"):
                forward += 1
            elif _WRITTEN[one.part] > _WRITTEN[two.part] and one.part not in _LAST_PARTS:
                backward += 1
        if before.line.clock_s is not None and after.line.clock_s is not None:
            later += after.line.clock_s > before.line.clock_s
            earlier += after.line.clock_s < before.line.clock_s
    if forward or backward:
        return backward > forward
    return earlier > later


def _printk_pieces(burst: Sequence[Piece]) -> list[tuple[Line, Fragment]]:
    return [
        (piece.line, piece.fragment)
        for piece in burst
        if piece.fragment is not None and piece.fragment.format is Format.PRINTK and piece.fragment.part != "known"
    ]


def _has_whole_record(burst: Sequence[Piece]) -> bool:
    pieces = _printk_pieces(burst)
    if any(fragment is WHOLE for _, fragment in pieces):
        return True
    return any(fragment.opens and _intact(pieces, at) for at, (_, fragment) in enumerate(pieces))


def _starts_afresh(burst: Sequence[Piece], piece: Piece) -> bool:
    """Whether a burst may be cut before this piece: a record begins, and the one before it is whole."""
    if piece.fragment is None or not piece.fragment.opens:
        return False
    if piece.fragment.format is not Format.PRINTK:
        return burst[-1].fragment is not None and burst[-1].fragment.closes
    tail = _printk_pieces(burst[-_TAIL_PIECES:])
    return any(fragment.opens and _intact(tail, at) == len(tail) - at for at, (_, fragment) in enumerate(tail))


def _speaks_of_others(piece: Piece) -> bool:
    """Whether a line may belong to a record of another format, or to one that stood before."""
    fragment = piece.fragment
    return fragment is None or fragment.format is not Format.PRINTK or fragment.part in _CLAIM_PARTS


def _announces(piece: Piece) -> bool:
    return piece.fragment is not None and piece.fragment.part == "boundary"


def bursts(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Cut the stream where evidence is far apart, and in a storm between two records that nothing else speaks of.

    Such a cut changes nothing: the record before it is whole, and no line within reach behind it can join that one.
    """
    burst: list[Piece] = []
    cut: int | None = None
    for piece in pieces:
        if piece.fragment is SILENCE:
            yield from (each for each in (burst, [piece]) if each)
            burst, cut = [], None
            continue
        if burst and abs(piece.line.number - burst[-1].line.number) > BURST_GAP_LINES:
            yield burst
            burst, cut = [], None
        if cut is not None and _speaks_of_others(piece):
            cut = None
        if cut is not None and piece.line.number - burst[cut].line.number > JOIN_LINES:
            yield burst[:cut]
            burst, cut = burst[cut:], None
        if cut is None and len(burst) >= BURST_MAX_FRAGMENTS and _starts_afresh(burst, piece):
            cut = len(burst)
        if len(burst) >= _BURST_LIMIT_FACTOR * BURST_MAX_FRAGMENTS and not _announces(burst[-1]):
            yield burst
            burst, cut = [], None
        burst.append(piece)
    if burst:
        yield burst


# --- the kernel's own records ---------------------------------------------------------------------------------------


def _intact(pieces: Sequence[tuple[Line, Fragment]], at: int) -> int:
    """How many pieces from a head at ``at`` form a whole record (over TSC up to PROCESSOR, in that order), or 0.

    A head between another head and surplus lines is one of two records that interleave: which lines are whose, their
    order cannot tell.
    """
    rank = -1
    draft = Draft(Format.PRINTK)
    for count, (line, fragment) in enumerate(pieces[at:], start=1):
        if (fragment.opens and count > 1) or not draft.takes(fragment) or _RANK.get(fragment.part, -1) <= rank:
            return 0
        rank = _RANK[fragment.part]
        draft.add(line, fragment, "")
        if fragment.part == "processor":
            behind_head = at > 0 and pieces[at - 1][1].opens
            surplus = at + count < len(pieces) and _RANK.get(pieces[at + count][1].part, 0) > 0
            return count if "tsc" in draft.registers and not (behind_head and surplus) else 0
    return 0


def _robbed(pieces: Sequence[tuple[Line, Fragment]], at: int, count: int, draft: Draft) -> list[Line]:
    """The head right before a whole record, which has no lines of its own: those that follow may be its lines.

    They are not if printk's caller ids (CONFIG_PRINTK_CALLER) say that one CPU printed all of the whole record.
    """
    callers = {line.caller for line, _ in pieces[at : at + count]}
    if at == 0 or not pieces[at - 1][1].opens or (len(callers) == 1 and None not in callers):
        return []
    draft.assume(TAKEN_FROM_FEWER)
    return [pieces[at - 1][0]]


def _needed(pieces: Sequence[tuple[Line, Fragment]], at: int) -> int:
    """How many lines of the same part as the one at ``at`` come before the next head, itself included."""
    count = 0
    for _, fragment in pieces[at:]:
        if fragment.opens:
            break
        count += fragment.part == pieces[at][1].part
    return count


def _printk(burst: Burst, pieces: Sequence[tuple[Line, Fragment]]) -> None:
    # A whole record ends the reach of what is left before it: lines of one record do not stand on both its sides.
    rest: list[list[tuple[Line, Fragment]]] = [[]]
    context: tuple[Line, Fragment] | None = None
    context_used = True
    without: list[Line] = []
    at = 0
    while at < len(pieces):
        line, fragment = pieces[at]
        if fragment.opens and (count := _intact(pieces, at)):
            draft = burst.new(Format.PRINTK)
            for member in pieces[at : at + count]:
                draft.add(*member, burst.file)
            without.extend(_robbed(pieces, at, count, draft))
            at += count
            rest.append([])
            continue
        if fragment is WHOLE:
            rest.append([])
        elif fragment.part == "context":
            if context is not None and not context_used:
                burst.orphan([context[0]], "a machine check was reported, and no bank follows")
            context, context_used = (line, fragment), False
        elif fragment.opens and "cpu" not in fragment.values and context is not None:
            draft = burst.new(Format.PRINTK)
            draft.add(*context, burst.file)
            draft.add(line, fragment, burst.file)
            context_used = True
        else:
            rest[-1].append((line, fragment))
        at += 1
    if context is not None and not context_used:
        burst.orphan([context[0]], "a machine check was reported, and no bank follows")
    for leftovers in rest:
        _printk_leftovers(burst, leftovers)
    for draft in burst.drafts:
        if draft.head in without:
            draft.assume(GIVEN_AWAY)


def _printk_leftovers(burst: Burst, rest: Sequence[tuple[Line, Fragment]]) -> None:
    open_drafts: list[Draft] = []
    headless: list[Draft] = []
    for at, (line, fragment) in enumerate(rest):
        if fragment.opens:
            draft = burst.new(Format.PRINTK)
            draft.add(line, fragment, burst.file)
            open_drafts.append(draft)
            headless.clear()
            continue
        if fragment.part in _CLAIM_PARTS:
            join_claim(burst, line, fragment)
            continue
        able = [d for d in open_drafts if d.takes(fragment) and line.order - d.last <= BURST_GAP_LINES]
        same = [d for d in able if d.head is not None and d.head.caller == line.caller] if line.caller else []
        after_tsc = [d for d in able if "tsc" in d.parts] if fragment.part == "processor" else []
        choice = same or after_tsc or able or [d for d in headless[-1:] if d.takes(fragment)]
        if not choice:
            # Lines whose head is lost stay together; without a status they end as unrecognised.
            draft = burst.new(Format.PRINTK)
            draft.add(line, fragment, burst.file)
            headless.append(draft)
            continue
        first_come = _needed(rest, at) >= len(choice)
        draft = choice[0] if first_come else choice[-1]
        if len(choice) > 1 and not same:
            draft.assume(INTERLEAVED if first_come else TAKEN_FROM_FEWER)
            if not first_come:
                for other in choice[:-1]:
                    other.assume(GIVEN_AWAY)
        draft.add(line, fragment, burst.file)


# --- formats that never interleave ----------------------------------------------------------------------------------


def _sequence(burst: Burst, format_: Format, pieces: Sequence[tuple[Line, Fragment]]) -> None:
    current: Draft | None = None
    context: tuple[Line, Fragment] | None = None
    context_used = True
    waiting: list[tuple[Line, Fragment]] = []

    def give_up(before: int | None) -> None:
        for line, fragment in [w for w in waiting if before is None or before - w[0].order > LEADING_LINES]:
            waiting.remove((line, fragment))
            if fragment.part != "boundary":
                burst.orphan([line], NO_STATUS)

    def begin(line: Line, fragment: Fragment) -> Draft:
        nonlocal context_used
        draft = burst.new(format_)
        if context is not None and line.order - context[0].order <= BURST_GAP_LINES:
            draft.add(*context, burst.file)
            context_used = True
        for member in [w for w in waiting if draft.takes(w[1])]:
            waiting.remove(member)
            draft.add(*member, burst.file)
        draft.closed = False
        draft.add(line, fragment, burst.file)
        return draft

    for line, fragment in pieces:
        near = current is not None and line.order - current.last <= BURST_GAP_LINES
        if fragment.needs is not None and not (near and current is not None and fragment.needs in current.parts):
            continue
        if fragment.part == "boundary":
            give_up(None)
            current = None
            if fragment.claims:
                waiting.append((line, fragment))
        elif fragment.part == "context":
            _unused(burst, context, context_used)
            context, context_used, current = (line, fragment), False, None
        elif fragment.opens:
            give_up(line.order)
            current = begin(line, fragment)
        elif fragment.subject is not None:
            meant = [draft for draft in burst.drafts if draft.format is format_]
            meant = [draft for draft in meant if draft.is_meant(line, fragment, current)]
            current = max(meant, key=lambda draft: draft.last) if meant else burst.new(format_)
            current.add(line, fragment, burst.file)
        elif near and current is not None and current.takes(fragment):
            current.add(line, fragment, burst.file)
        elif fragment.may_open:
            give_up(line.order)
            current = begin(line, fragment)
        else:
            waiting.append((line, fragment))
    give_up(None)
    _unused(burst, context, context_used)


def _unused(burst: Burst, context: tuple[Line, Fragment] | None, used: bool) -> None:
    """A context that no head has used is evidence, unless it only says where."""
    if context is None or used:
        return
    line, fragment = context
    if fragment.registers or fragment.claims or "delivery" in fragment.values:
        burst.orphan([line], "a machine check was reported, and no bank follows")


def _unfulfilled(burst: Burst, ordered: Sequence[Piece]) -> None:
    """An announcement of a record that is followed by none is evidence that a record was lost."""
    step = -1 if ordered[0].line.newest_first else 1
    begun = [line.order for draft in burst.drafts for line in draft.lines]
    begun += [step * (orphan.origin.line or 0) for orphan in burst.orphans]
    begun.sort()
    lost: list[Line] = []
    for piece in ordered:
        if not _announces(piece):
            continue
        at = piece.line.order
        following = bisect_left(begun, at)
        if following == len(begun) or begun[following] > at + LEADING_LINES:
            lost.append(piece.line)
    if lost:
        burst.orphan(lost[::step], "a machine check was announced, and no record follows")


def assemble(pieces: Iterable[Piece], file: str) -> Iterator[Evidence | Lull]:
    """Records and unrecognised evidence of a stream of pieces, in the order in which they begin in the file.

    Memory is bounded by one burst. Nothing is dropped: each piece with content ends in a record or is unrecognised.
    """
    for found in bursts(pieces):
        if found[0].fragment is SILENCE:
            yield Lull()
        else:
            yield from _assemble_burst(found, file)


def _assemble_burst(found: list[Piece], file: str) -> list[Evidence]:
    burst = Burst(file)
    ordered = found
    if _is_reversed(found):
        ordered = [Piece(replace(piece.line, newest_first=True), piece.fragment) for piece in reversed(found)]
    ordered_ones = adopted([(piece.line, piece.fragment) for piece in ordered])
    by_format: dict[Format, list[tuple[Line, Fragment]]] = {}
    for at, piece in enumerate(ordered):
        fragment = ordered_ones.get(at, piece.fragment)
        if fragment is None:
            burst.orphan([piece.line], "it promises machine-check evidence and has no known form")
        elif fragment.part != "known":
            by_format.setdefault(fragment.format, []).append((piece.line, fragment))
    for format_, pieces in by_format.items():
        if format_ is Format.PRINTK:
            _printk(burst, pieces)
        elif format_ not in {Format.EDAC, Format.MEMORY_FAILURE}:
            _sequence(burst, format_, pieces)
    # These speak of other formats' records, which have to be there first.
    _sequence(burst, Format.EDAC, join_edac(burst, by_format.get(Format.EDAC, ())))
    join_memory_failures(burst, by_format.get(Format.MEMORY_FAILURE, ()))
    _unfulfilled(burst, ordered)
    evidence: list[Evidence] = [draft.finish(file) for draft in burst.drafts if draft.values.get("count") != 0]
    evidence.extend(burst.orphans)
    evidence.sort(key=lambda item: item.origin.line or 0)
    return evidence
