"""The parts of the machine that errors were counted for, and what is held against each: for people, who may end it.

``look`` copies what is known, in the writer's thread; ``parts`` makes the list of it, in another: to name the suspects
of a bad day takes longer than an uncorrected error may wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final

from ringfence.decision.policy import DEFAULT, Trends
from ringfence.decision.policy_file import PolicyFile
from ringfence.decision.policy_keys import BY_PATH
from ringfence.diagnosis.fault_case import Ending, Fault, Stage, threshold
from ringfence.diagnosis.serd import KNOWN, Engine, SerdRule, fold_all
from ringfence.diagnosis.spread import Sighting, controller_of, spread_of
from ringfence.diagnosis.suspects import Grade, Suspected, suspects
from ringfence.journal import events as ev
from ringfence.journal.faults import Key, fault_key, remembered
from ringfence.service import control_protocol as say
from ringfence.service.control_protocol import PartState
from ringfence.service.modules import serial_of
from ringfence.service.writer import Desk
from ringfence.views.chain import part_in_words
from ringfence.world.identities import CaseId, Frame
from ringfence.world.situation import Suspect
from ringfence.world.steps import Status

MOST_PARTS: Final = 1000
"""That one answer names, the worst first; the rest is counted."""

_STATES: Final[Mapping[Stage, PartState]] = {
    Stage.DIAGNOSED: PartState.FAULTY,
    Stage.ACTING: PartState.DEALT_WITH,
    Stage.ISOLATED: PartState.RETIRED,
    Stage.UNTREATED: PartState.FAULTY,
    Stage.REPAIRED: PartState.CLEARED,
    Stage.REPLACED: PartState.CLEARED,
    Stage.ACQUITTED: PartState.CLEARED,
}

_ORDER: Final = tuple(PartState)
"""The worst first."""

_WHENCE: Final[Mapping[Suspect, str]] = {
    Suspect.PAGE: "mcelog page of old",
    Suspect.CORE: "mcelog DIMM",
    Suspect.RANK: "syndromes of a rank",
    Suspect.ROW: "rasdaemon row",
    Suspect.DIMM: "mcelog DIMM",
    Suspect.CACHE: "illumos link",
    Suspect.LINK: "illumos link",
    Suspect.SOCKET: "mcelog socket",
}
"""After which of ``serd.KNOWN`` each default is made (``decision.policy.Trends``)."""

_SOURCES: Final = {rule.name: rule.source for rule in KNOWN}

_ALONE: Final = frozenset({Suspect.DIMM, Suspect.CORE, Suspect.CACHE, Suspect.LINK})
"""Parts within which suspects are looked for. What several of them share is looked for among all of one controller."""

_SHARED: Final = frozenset({Suspect.CHANNEL, Suspect.CONTROLLER})


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the parts at one moment, on the host's clock. ``acting`` are the open cases that act on one,
    ``forgetting`` what of the history counts no more.
    """

    history: Mapping[Key, tuple[Sighting, ...]]
    forgetting: Mapping[Key, tuple[Key, ...]]
    faults: Mapping[Key, Fault]
    acting: Mapping[Key, CaseId]
    modules: Mapping[str, str]
    policy: PolicyFile
    now_ms: int
    epoch_ms: int | None


def look(desk: Desk) -> Known:
    """What is known now, to be read in another thread."""
    state = desk.loop.state
    return Known(
        history={key: tuple(seen) for key, seen in state.history.items()},
        forgetting=dict(state.forgetting),
        faults=dict(state.faults.known),
        acting={key: case for case, key in state.faults.acting.items()},
        modules=dict(state.modules),
        policy=desk.policy.file,
        now_ms=desk.world.host.now_ms(),
        epoch_ms=state.epoch_ms,
    )


def parts(known: Known, *, everything: bool) -> say.PartList:
    """The parts, the worst first; without ``everything`` those alone that something is held against."""
    lines = sorted(_lines(_settled(known)), key=_rank)
    shown = [each for each in lines if everything or each.state not in {PartState.WATCHED, PartState.CLEARED}]
    return say.PartList(
        parts=tuple(shown[:MOST_PARTS]),
        left_off=max(0, len(shown) - MOST_PARTS),
        watched=sum(each.state is PartState.WATCHED for each in lines),
        cleared=sum(each.state is PartState.CLEARED for each in lines),
    )


def _settled(known: Known) -> Known:
    return replace(known, history=remembered(known.history, known.forgetting), forgetting={})


def _rank(line: say.PartLine) -> tuple[int, float, str]:
    fill = line.engine.level / line.engine.limit if line.engine is not None else 0.0
    return _ORDER.index(line.state), -fill, line.part


def _lines(known: Known) -> Iterator[say.PartLine]:
    counted = {fault_key(key): (key, seen) for key, seen in known.history.items()}
    accused = _accused(known)
    # A part that was cleared and errs again is watched, from its end on.
    for key in dict.fromkeys((*counted, *accused, *known.faults)):
        fault, suspected = known.faults.get(key), accused.get(key)
        _, seen = counted.get(key, (key, ()))
        state = _state(fault, suspected, seen)
        grade, speaks_for, speaks_against = _held(fault, suspected)
        yield say.PartLine(
            part=part_in_words(*key),
            suspect=key[0],
            name=key[1],
            state=state,
            stage=fault.stage if fault is not None and state is not PartState.WATCHED else "",
            errors=sum(each.count for each in seen) or (suspected.errors if suspected is not None else 0),
            distinct=len({each.syndrome for each in seen if each.syndrome is not None})
            or (suspected.distinct if suspected is not None else 0),
            grade=grade,
            speaks_for=speaks_for,
            speaks_against=speaks_against,
            engine=_engine(key, seen, fault, known),
            case=known.acting.get(key),
            cases=fault.cases if fault is not None else (),
            who=fault.who if fault is not None and fault.ended else "",
            first_wall_ms=_wall(known, seen[0].at_ms) if seen else None,
            last_wall_ms=_wall(known, seen[-1].at_ms) if seen else None,
            since_wall_ms=_wall(known, fault.since_ms) if fault is not None else None,
            serial=known.modules.get(key[1], "") if key[0] is Suspect.DIMM else "",
        )


def _wall(known: Known, at_ms: int) -> int | None:
    return None if known.epoch_ms is None else known.epoch_ms + at_ms


def _held(fault: Fault | None, suspected: Suspected | None) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """How well a part accounts for what was seen, what speaks for that and what against: nothing of an ended fault."""
    if suspected is not None:
        return suspected.grade, suspected.speaks_for, suspected.speaks_against
    if fault is not None and not fault.ended:
        return fault.grade, fault.evidence, ()
    return "", (), ()


def _state(fault: Fault | None, suspected: Suspected | None, seen: tuple[Sighting, ...]) -> PartState:
    if fault is not None and not fault.ended:
        return _STATES[fault.stage]
    if suspected is not None and suspected.grade is not Grade.POSSIBLE:
        return PartState.SUSPECTED
    if fault is not None and not seen and suspected is None:
        return _STATES[fault.stage]
    return PartState.WATCHED


# --- suspects ---------------------------------------------------------------------------------------------------------


def _accused(known: Known) -> dict[Key, Suspected]:
    """What the spread of the errors points at, by the names of the faults; of several findings the best."""
    found: dict[Key, Suspected] = {}
    shared: dict[str, list[Sighting]] = {}
    for (suspect, _), seen in known.history.items():
        if suspect not in _ALONE:
            continue
        _add(found, (each for each in suspects(spread_of(seen)).suspects if each.suspect not in _SHARED))
        if suspect is Suspect.DIMM:
            shared.setdefault(controller_of(seen[0].location) or "", []).extend(seen)
    for together in shared.values():
        _add(found, (each for each in suspects(spread_of(together)).suspects if each.suspect in _SHARED))
        for key in [key for key in found if key[0] in _SHARED and _was_cleared(known, key)]:
            # What it was acquitted of is still held against the parts beneath.
            since = [each for each in together if each.at_ms > known.faults[key].since_ms]
            del found[key]
            _add(found, (each for each in suspects(spread_of(since)).suspects if (each.suspect, each.name) == key))
    return found


def _was_cleared(known: Known, key: Key) -> bool:
    fault = known.faults.get(key)
    return fault is not None and fault.ended


def _add(found: dict[Key, Suspected], more: Iterable[Suspected]) -> None:
    grades = list(Grade)
    for each in more:
        key = (each.suspect, each.name)
        before = found.get(key)
        if before is None or grades.index(each.grade) < grades.index(before.grade):
            found[key] = each


# --- engines ----------------------------------------------------------------------------------------------------------


def _engine(key: Key, seen: tuple[Sighting, ...], fault: Fault | None, known: Known) -> say.EngineLine | None:
    """How full the engine of a part is now; None for a kind that has none."""
    rule = known.policy.policy.trends.rule(key[0])
    if rule is None:
        return None
    since_ms = fault.since_ms if fault is not None and fault.stage not in {Stage.DIAGNOSED, Stage.ACTING} else None
    counted = [each for each in seen if since_ms is None or each.at_ms > since_ms]
    return say.EngineLine(
        engine=rule.engine,
        level=_level(rule, counted, known.now_ms),
        limit=threshold(fault, rule.n),
        window_s=rule.window_s,
        distinct=rule.distinct,
        source=_source(key[0], known.policy),
    )


def _level(rule: SerdRule, seen: list[Sighting], now_ms: int) -> int:
    """Errors (or syndromes) that the engine holds now."""
    if rule.engine is Engine.BUCKET:
        # An error more, now, makes what has flown out flow out.
        return fold_all(rule, (*((each.at_ms, each.count) for each in seen), (now_ms, 1))).level - 1
    within = [each for each in seen if each.at_ms > now_ms - rule.window_ms]
    if rule.distinct:
        return len({each.syndrome for each in within if each.syndrome is not None})
    return sum(each.count for each in within)


def _source(suspect: Suspect, policy: PolicyFile) -> str:
    """Where a threshold comes from: the policy's line, or what its default is made after."""
    names = [path for path in BY_PATH if path.startswith(f"trends.{suspect.lower()}_")]
    origins = [policy.origin(BY_PATH[path]) for path in names]
    told = [origin for origin in origins if origin != "default"]
    if told:
        return ", ".join(told)
    if policy.policy.trends.rule(suspect) != _DEFAULTS.rule(suspect):
        return "the policy"
    return f"default, after {_SOURCES[_WHENCE[suspect]]}" if suspect in _WHENCE else "default"


_DEFAULTS: Final[Trends] = DEFAULT.trends


# --- an end -----------------------------------------------------------------------------------------------------------


def clear(desk: Desk, asked: say.Clear, key: Key, who: str) -> say.Done | say.Refused:
    """End what is held against a part: by a person's word it is mended, replaced, or was not at fault."""
    serial = serial_of(asked.serial)
    if key[0] is Suspect.PAGE and asked.how is Ending.REPLACED:
        message = f"{part_in_words(*key)} is no part that can be replaced"
        advice = "Say it of the DIMM that was replaced; of the page, leave --replaced out if it is good again."
        return say.Refused(code=say.Code.REFUSED, message=message, advice=advice)
    if asked.serial and not serial:
        message = f"{asked.serial!r} is no serial number that tells one module from another"
        return say.Refused(code=say.Code.REFUSED, message=message, advice="Leave --serial out if it has none.")
    fault = desk.loop.state.faults.of(*key)
    left = _out_of_use(desk, key)
    desk.loop.note(
        ev.Cleared(
            at_ms=desk.world.host.now_ms(), suspect=key[0], name=key[1], how=asked.how, who=who, because=asked.because,
            serial=serial, case=fault.cases[-1] if fault is not None and fault.cases else None,
        )
    )  # fmt: skip
    because = f"{part_in_words(*key)}: {asked.how}; what was counted before does not count any more"
    return say.Done(status=Status.DONE, because=because + left, case=None)


def _out_of_use(desk: Desk, key: Key) -> str:
    """What stays out of use all the same, as the end of a sentence."""
    suspect, name = key
    if suspect is Suspect.DIMM and (pages := desk.loop.state.pages_offlined(name)):
        return f". {pages} pages of it stay out of use until the next boot, or until `ringfence page online`"
    return ""


def page(desk: Desk, frame: Frame) -> say.PageKnown:
    """What is known of a page. Runs in the writer's thread: it looks at one page only."""
    state = desk.loop.state
    fault = state.faults.of(Suspect.PAGE, f"page {frame:#x}")
    seen = state.sightings((Suspect.PAGE, f"{frame:#x}"))
    known = [first for first, pages in state.faults.pages.items() if first <= frame < first + pages]
    return say.PageKnown(
        frame=frame,
        out_of_use=any(first not in state.faults.back_pages for first in known),
        state=_STATES[fault.stage] if fault is not None else PartState.WATCHED,
        errors=sum(each.count for each in seen),
        dimm=next((dimm for dimm, frames in state.offlined.items() if not frames.keys().isdisjoint(known)), ""),
        cases=tuple(
            case.id
            for case in state.cases.values()
            if any(first <= frame < first + pages for first, pages in case.frames.items())
        ),
    )


def meant(known: Known, name: str) -> Key | say.Refused:
    """The part that a person means: as `ringfence parts --all` names it, or without its kind where that is enough."""
    known = _settled(known)
    modules = ((Suspect.DIMM, each) for each in known.modules)
    keys = dict.fromkeys((*known.faults, *map(fault_key, known.history), *_accused(known), *modules))
    wanted = name.strip().lower()
    exact = [key for key in keys if part_in_words(*key).lower() == wanted]
    found = exact or [key for key in keys if key[1].lower() == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{name!r} can mean {', '.join(part_in_words(*key) for key in found)}"
        return say.Refused(code=say.Code.REFUSED, message=message, advice="Name it with its kind.")
    labels = {part_in_words(*key).lower(): part_in_words(*key) for key in keys}
    like = " or ".join(labels[each] for each in get_close_matches(wanted[:64], labels, 3))
    hint = f" Did you mean {like}?" if like else ""
    return say.Refused(
        code=say.Code.NOT_THERE,
        message=f"nothing was ever counted for a part {name!r}",
        advice=f"`ringfence parts --all` names them.{hint}",
    )
