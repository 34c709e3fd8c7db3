"""Reference pages about the concept: its rows, the flow of a case with its diagram, and the table of all outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ringfence.decision.enumeration import HEADS, host_outcomes, outcomes
from ringfence.decision.enumeration_report import Outcome
from ringfence.decision.flow import ENDS, RUNGS, TABLE, Edge, Event, Go, State
from ringfence.decision.laws import TEXTS
from ringfence.decision.orders import alarm_ms
from ringfence.decision.policy import Deadlines
from ringfence.decision.rows import MEANINGS
from ringfence.views.enumeration import outcome_cells

Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]
Page = Callable[[str, str, Iterable[str]], str]


def concept(page: Page, table: Table) -> str:
    """Every row and every law."""
    rows = ((f"`{row}`", meaning.condition, meaning.happens) for row, meaning in MEANINGS.items())
    laws = ((str(law), text) for law, text in TEXTS.items())
    return page(
        "The concept",
        "What must happen when a machine check arrives, as rows with names: reasons, journals and tests use them. Rows"
        " I and II are those of the RFC “MCA/MCE concept” (C. Egger, xen-devel, May 2007), rows B answer what J."
        " Beulich and others held against it on that list. What each guest can come to is in"
        " [outcomes.md](outcomes.md), how a case goes over time in [flow.md](flow.md).",
        [
            "## Rows\n",
            table(("row", "when", "what happens"), rows),
            "## Laws\n\nProven for every part and every pair of errors by exhaustion (`ringfence simulate"
            " --enumerate`), and checked in every simulated run.\n",
            table(("law", "what it says"), laws),
        ],
    )


# --- the flow -------------------------------------------------------------------------------------------------------

_GOES: dict[Go, str] = {
    Go.LADDER: "the ladder: the first rung that applies",
    Go.NEXT_RUNG: "the ladder: the next rung below",
    Go.KILL: "KILLING",
    Go.FIRST: "ASKING if Dom0 can be asked, else the ladder",
    Go.HALT: "SAVING_EVIDENCE if Dom0 is able, else SPEAKING",
    Go.FREE: "SPEAKING if it consumed the error or reaches the page, else STUCK",
}
_DRAWN: dict[Go, tuple[str, ...]] = {
    Go.LADDER: ("ladder",),
    Go.NEXT_RUNG: ("ladder",),
    Go.KILL: (State.KILLING.name,),
    Go.FIRST: (State.ASKING.name, "ladder"),
    Go.HALT: (State.SAVING_EVIDENCE.name, State.SPEAKING.name),
    Go.FREE: (State.SPEAKING.name, State.STUCK.name),
}
_AT_ANY_TIME = frozenset({Event.DOMAIN_GONE, Event.SUPERSEDED, Event.HOST_HALTED})
_FIGURES: tuple[tuple[str, tuple[State, ...]], ...] = (
    ("The host's part", (State.NOTING, State.HEALING, State.TAKING_OUT, State.DEGRADING, State.SAVING_EVIDENCE,
                         State.SPEAKING, State.HALTING, State.HALTING_AGAIN)),
    ("A DomU's part", (State.CONTAINING, State.HOLDING, State.ASKING, State.TELLING, State.AWAITING_GUEST,
                       State.INJECTING, State.AWAITING_MCIP, State.INJECTING_AGAIN, State.REQUESTING, State.OPERATING,
                       State.INFORMING, State.KILLING)),
    ("Dom0's own operations", (State.APPROVING, State.CARRYING_OUT)),
)  # fmt: skip


def _targets(edge: Edge) -> tuple[str, ...]:
    return _DRAWN[edge.target] if isinstance(edge.target, Go) else (edge.target.name,)


def _figure(states: tuple[State, ...]) -> str:
    events: dict[tuple[str, str], list[str]] = {}
    for edge in TABLE:
        if edge.state in states and edge.event not in _AT_ANY_TIME:
            for target in _targets(edge):
                events.setdefault((edge.state.name, target), []).append(str(edge.event).replace("_", " "))
    lines = ["stateDiagram-v2"]
    if any(target == "ladder" for _, target in events):
        lines.append("    state ladder <<choice>>")
        lines += [f"    ladder --> {state.name}" for state in dict.fromkeys(rung.state for rung in RUNGS)]
    lines += [f"    {source} --> {target} : {', '.join(names)}" for (source, target), names in events.items()]
    ends = dict.fromkeys(target for _, target in events if target in {end.name for end in ENDS})
    lines += [f"    {end} --> [*]" for end in ends]
    body = "\n".join(lines)
    return f"```mermaid\n{body}\n```\n"


def _edges(states: tuple[State, ...]) -> Iterator[tuple[str, ...]]:
    for edge in sorted((edge for edge in TABLE if edge.state in states), key=lambda edge: states.index(edge.state)):
        target = _GOES[edge.target] if isinstance(edge.target, Go) else edge.target.name
        marks = ", ".join(str(mark).replace("_", " ") for mark in edge.marks)
        yield edge.state.name, str(edge.event).replace("_", " "), target, edge.because, marks


def flow(page: Page, table: Table) -> str:
    """The transition table, drawn and written out."""
    deadlines = Deadlines()
    parts: list[str] = []
    for name, states in _FIGURES:
        parts += [
            f"## {name}\n",
            _figure(states),
            table(("state", "event", "goes to", "because", "to be remembered"), _edges(states)),
        ]
    rungs = ((f"`{rung.row}`", "PV" if rung.pv else "PVH, HVM", rung.state.name, rung.because) for rung in RUNGS)
    alarms = ((state.name, f"{after:,}") for state in State if (after := alarm_ms(state, deadlines)) is not None)
    parts += [
        "## The ladder\n\nWhat cannot be delivered or done falls to the next rung, never to silence.\n",
        table(("row", "guest", "state", "taken if"), rungs),
        "## Deadlines\n\nWith the default policy. Every state in which somebody else is waited for has one.\n",
        table(("state", "at most, ms"), alarms),
    ]
    return page(
        "The flow of a case",
        "A case has a part for the host and one for each DomU that is hit; each goes its way by these tables. A pair of"
        " state and event that is in none of them is refused and changes nothing. The pictures leave out what can come"
        " at almost any time: the end of the domain, a later error on the same page that takes this one's place, and a"
        " halt of the host. Ways round are two, and each uses something up: one more lost page is told by vMCE, one"
        " more operation has been tried.",
        parts,
    )


# --- outcomes -------------------------------------------------------------------------------------------------------


def _domus() -> Iterator[tuple[str, ...]]:
    """The outcomes of DomUs, those that are the same for several kinds or either state of MCA as one line."""
    alike: dict[tuple[object, ...], list[Outcome]] = {}
    for each in outcomes():
        error, _, handler, _, dom0 = each.what
        alike.setdefault((error, handler, dom0, each.rows, each.ends), []).append(each)
    for group in alike.values():
        first = group[0]
        kinds = dict.fromkeys(each.what[1] for each in group)
        mca = dict.fromkeys(each.what[3] for each in group)
        error, _, handler, _, dom0 = first.what
        what = (error, ", ".join(kinds), handler, "any" if len(mca) > 1 else next(iter(mca)), dom0)
        yield outcome_cells(replace(first, what=what))


def outcome_table(page: Page, table: Table) -> str:
    """Every outcome of a DomU, by enumeration, and those of the host."""
    return page(
        "All outcomes",
        "What can become of an error, found by following every way through the flow. While Dom0 stays as able as it is"
        " in the column; if it is hurt on the way, the row without Dom0 applies. A guest is left out of the rows that"
        " tell it if a lost page has no number of its own or if a mapping of the page cannot be taken away, and out of"
        " I.3b-inject if the policy forbids vMCE or too many pages are lost. Besides, a part can end because its domain"
        " ended (gone), because a later error took its place (superseded), or because another part halted the host.",
        [
            "## The host's part\n\nWhich row a case begins with is decided by [severity](severity.md) and impact: a"
            " corrected error with I.2a; what hits the hypervisor or Dom0 with I.2b; what hits nobody with I.2n; what"
            " cannot be located with I.2u (I.2x if the policy wants that); what is FATAL or cannot be confined with"
            " I.2x.\n",
            table(("begins with", "Dom0", "rows", "ends"), (outcome_cells(each) for each in host_outcomes())),
            "## A DomU\n\nRows in the order in which they are tried; `I.2x` where a consumer can be neither stopped nor"
            " killed, or keeps a mapping of the page.\n",
            table((*HEADS, "rows", "ends"), _domus()),
        ],
    )
