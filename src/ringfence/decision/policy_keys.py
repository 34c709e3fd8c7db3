"""Every key of a policy file: its meaning, its range and why, and the rows of the concept that it bears on.

One table, from which come the checks, the file that ``ringfence policy default`` prints, docs/reference/policy.md, the
JSON Schema, and the words of ``ringfence policy explain``. Defaults are those of decision.policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ringfence.decision.policy import (
    DEFAULT,
    Answer,
    DomainRule,
    OnPageTrend,
    OnRankTrend,
    OnUnlocated,
    Operation,
    Policy,
)
from ringfence.decision.policy_kinds import Choice, Choices, Count, Duration, Kind, Switch, Text, Texts, Uuid, Weight
from ringfence.decision.rows import Row
from ringfence.diagnosis.serd import Engine

MAX_RULES: Final = 1000
"""Rules for domains: a host has fewer domains, and every error walks over them."""


class Table(StrEnum):
    """The tables of a file. ``DOMAIN`` stands in double brackets, once a rule."""

    TOP = ""
    DEADLINES = "deadlines"
    BUDGETS = "budgets"
    TRENDS = "trends"
    LOSSES = "losses"
    OTHERWISE = "otherwise"
    DOMAIN = "domain"


TABLE_MEANINGS: Final[Mapping[Table, str]] = MappingProxyType(
    {
        Table.TOP: "What holds for the whole host. These keys stand before the first table.",
        Table.DEADLINES: "How long each wait may last. When it is over, the next row of the concept applies.",
        Table.BUDGETS: "Bounds on what Ringfence does by itself.",
        Table.TRENDS: "When corrected errors make an uncorrected one likely, and what is then done ahead of it.",
        Table.LOSSES: "What operations on domains are weighed by: shares of a domain that is gone for good (1), and "
        "chances. They are judgements, not measurements; each is named in the sums where it enters.",
        Table.OTHERWISE: "Domains that no rule matches.",
        Table.DOMAIN: "A rule for some domains. The first that matches a domain is its own. What a rule leaves out has "
        "the default, not what [otherwise] says.",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. ``field`` is where the program holds its value, ``why`` the reason of the range if there is one."""

    table: Table
    name: str
    field: str
    kind: Kind
    meaning: str
    why: str = ""
    rows: tuple[Row, ...] = ()

    @property
    def path(self) -> str:
        """As messages name it: ``deadlines.dom0``."""
        return f"{self.table}.{self.name}" if self.table else self.name

    @property
    def default(self) -> object:
        """What holds if a file does not say."""
        return value_of(self, DEFAULT, DomainRule())


def value_of(key: Key, policy: Policy, rule: DomainRule | None = None) -> object:
    """What a policy says for a key; ``rule`` is the domain's rule that keys of DOMAIN are looked up in."""
    holder = {
        Table.TOP: policy,
        Table.DEADLINES: policy.deadlines,
        Table.BUDGETS: policy.budgets,
        Table.TRENDS: policy.trends,
        Table.LOSSES: policy.losses,
        Table.OTHERWISE: policy.otherwise,
        Table.DOMAIN: rule,
    }[key.table]
    value: object = getattr(holder, key.field)
    return value


_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

_HOST: Final = (
    Key(
        table=Table.TOP,
        name="unlocated",
        field="unlocated",
        kind=Choice(OnUnlocated),
        meaning="What an uncorrected error does whose page cannot be named: the host takes no new guests, or moves all "
        "guests away as well, or halts.",
        rows=(Row.UNLOCATED,),
    ),
    Key(
        table=Table.TOP,
        name="approve",
        field="approve",
        kind=Choices(Operation),
        meaning="Operations on domains that a person must approve first.",
        rows=(Row.ON_DOMAIN, Row.AHEAD),
    ),
    Key(
        table=Table.TOP,
        name="dry_run",
        field="dry_run",
        kind=Switch(),
        meaning="Dom0's seat decides and writes down everything, and orders nothing.",
    ),
)

_DEADLINES: Final = (
    Key(
        table=Table.DEADLINES,
        name="dom0",
        field="dom0_ms",
        kind=Duration(100, _HOUR),
        meaning="For Dom0's answer what shall become of a domain that was hit.",
        why="a busy Dom0 needs 100 ms to be scheduled at all, and the domain may stand still all the while",
        rows=(Row.ASK_DOM0, Row.PV_DOM0, Row.HVM_DOM0, Row.DOM0_IF_ABLE),
    ),
    Key(
        table=Table.DEADLINES,
        name="evidence",
        field="evidence_ms",
        kind=Duration(100, _MINUTE),
        meaning="For Dom0 to save the evidence before the host halts, and once more for the last words to get out.",
        why="a serial line carries a record in some 100 ms; a host that cannot trust itself must not go on for long",
        rows=(Row.HALT, Row.DOM0_IF_ABLE, Row.LAST_WORDS),
    ),
    Key(
        table=Table.DEADLINES,
        name="guest",
        field="guest_ms",
        kind=Duration(10, 10 * _MINUTE),
        meaning="For a guest's PV MCA handler to say that it healed itself.",
        why="below 10 ms a guest may not have run at all; ten minutes is a long time to live with lost pages",
        rows=(Row.PV_HANDLER, Row.HVM_HANDLER),
    ),
    Key(
        table=Table.DEADLINES,
        name="mcip",
        field="mcip_ms",
        kind=Duration(10, _MINUTE),
        meaning="For a guest to leave an earlier machine check (MCIP clear) before a vMCE is tried again.",
        why="a handler runs for milliseconds; a guest that has not left after a minute never will",
        rows=(Row.HVM_INJECT, Row.INJECTION),
    ),
    Key(
        table=Table.DEADLINES,
        name="operation",
        field="operation_ms",
        kind=Duration(_SECOND, _DAY),
        meaning="For an operation on a domain. One that is known to need more is not begun.",
        why="nothing but a pause ends within a second; what takes a day is no answer to a failing part",
        rows=(Row.ON_DOMAIN, Row.FEASIBILITY),
    ),
    Key(
        table=Table.DEADLINES,
        name="approval",
        field="approval_ms",
        kind=Duration(_SECOND, _DAY),
        meaning="For a person to approve an operation.",
        why="nobody answers within a second; after a day the question has lost its sense",
        rows=(Row.ON_DOMAIN, Row.AHEAD),
    ),
)

_BUDGETS: Final = (
    Key(
        table=Table.BUDGETS,
        name="pages_per_dimm",
        field="pages_per_dimm",
        kind=Count(0, 65_536),
        meaning="Pages of one DIMM that are taken out of use ahead of an error, in all.",
        why="65536 pages are 256 MiB: a DIMM that needs more must be replaced",
        rows=(Row.AHEAD, Row.ON_MACHINE),
    ),
    Key(
        table=Table.BUDGETS,
        name="operations_at_a_time",
        field="operations_at_a_time",
        kind=Count(1, 64),
        meaning="Operations on domains that run at the same time.",
        why="they share one link and one disk; to allow none, leave the arrays of operations empty",
        rows=(Row.ON_DOMAIN,),
    ),
    Key(
        table=Table.BUDGETS,
        name="vmces_per_error",
        field="vmces_per_error",
        kind=Count(1, 512),
        meaning="Lost pages that one guest is told of by vMCE; with more, the next row applies.",
        why="512 pages are a 2 MiB superpage, each a vMCE that waits for the one before; to allow none, set vmce = "
        "false",
        rows=(Row.HVM_INJECT, Row.INJECTION),
    ),
)


def _counted(part: str, of: str, why: str, *, acts: bool = False) -> tuple[Key, Key]:
    """The threshold of a part of which corrected errors are merely counted."""
    then = "the logical CPU is then taken out of use" if acts else "people are told, and nothing is done by itself"
    return (
        Key(
            table=Table.TRENDS,
            name=f"{part}_count",
            field=f"{part}_count",
            kind=Count(1, 1_000_000),
            meaning=f"Corrected errors of one {of} within {part}_window that make a trend; {then}.",
            why="one error is the least that can be acted upon",
            rows=(Row.AHEAD,),
        ),
        Key(
            table=Table.TRENDS,
            name=f"{part}_window",
            field=f"{part}_window_s",
            kind=Duration(_MINUTE, 30 * _DAY, _SECOND),
            meaning=f"See {part}_count.",
            why=why,
            rows=(Row.AHEAD,),
        ),
    )


_SCRUBBED: Final = (
    "patrol scrubbing comes by about once a day: less than a minute counts one storm, more than a month counts chance"
)
_POLLED: Final = "banks are polled every few minutes: less than one counts one poll, more than a month counts chance"

_TRENDS: Final = (
    Key(
        table=Table.TRENDS,
        name="engine",
        field="engine",
        kind=Choice(Engine),
        meaning="How errors are held against time: so many within a window that ends at the newest, or a leaky bucket "
        "as mcelog and rasdaemon have it, which adds up bursts in neighbouring windows.",
        rows=(Row.AHEAD,),
    ),
    Key(
        table=Table.TRENDS,
        name="page_count",
        field="page_count",
        kind=Count(1, 1_000_000),
        meaning="Corrected errors of one page within page_window that make a trend.",
        why="one error is the least that can be acted upon",
        rows=(Row.AHEAD,),
    ),
    Key(
        table=Table.TRENDS,
        name="page_window",
        field="page_window_s",
        kind=Duration(_MINUTE, 30 * _DAY, _SECOND),
        meaning="See page_count.",
        why="patrol scrubbing visits a page about once a day: less than a minute counts one storm, more than a month "
        "counts chance",
        rows=(Row.AHEAD,),
    ),
    Key(
        table=Table.TRENDS,
        name="on_page",
        field="on_page",
        kind=Choice(OnPageTrend),
        meaning="What then becomes of the page: nothing, or its content is copied to a good one and it is taken out of "
        "use, or it is taken out of use when its owner lets go. operate: where that waits for a guest, it is moved or "
        "saved, as its rule's ahead allows; once saved, it is restored on other pages.",
        rows=(Row.AHEAD, Row.ON_MACHINE),
    ),
    Key(
        table=Table.TRENDS,
        name="rank_syndromes",
        field="rank_syndromes",
        kind=Count(2, 1000),
        meaning="Distinct syndromes of one rank within rank_window that make a trend.",
        why="any single corrected error has one syndrome",
        rows=(Row.DISTINCT_SYNDROMES, Row.AHEAD),
    ),
    Key(
        table=Table.TRENDS,
        name="rank_window",
        field="rank_window_s",
        kind=Duration(_MINUTE, 365 * _DAY, _SECOND),
        meaning="See rank_syndromes.",
        why="a rank fails over hours to days; after a year the part may be another one",
        rows=(Row.DISTINCT_SYNDROMES, Row.AHEAD),
    ),
    Key(
        table=Table.TRENDS,
        name="rank_ue",
        field="rank_ue_ms",
        kind=Duration(_MINUTE, 365 * _DAY),
        meaning="How soon an uncorrected error is expected, on the average, once a rank makes a trend: operations on "
        "domains are weighed by it, until the rank is said to be repaired or acquitted.",
        why="less than a minute is no warning; after a year the part may be another one",
        rows=(Row.DISTINCT_SYNDROMES, Row.AHEAD, Row.FEASIBILITY),
    ),
    Key(
        table=Table.TRENDS,
        name="on_rank",
        field="on_rank",
        kind=Choice(OnRankTrend),
        meaning="What is then done: nothing, or the best of the operations `ahead` for each domain that has memory "
        "there, or all guests are moved away.",
        rows=(Row.DISTINCT_SYNDROMES, Row.AHEAD, Row.FEASIBILITY),
    ),
)

_TOLD: Final = (
    *_counted("row", "row of a memory bank", _SCRUBBED),
    *_counted("dimm", "DIMM", _SCRUBBED),
    *_counted("cache", "cache", _POLLED),
    *_counted("link", "link between processors or to devices", _POLLED),
    *_counted("socket", "socket, its memory included,", _SCRUBBED),
)

_SHARE: Final = Weight(0, 1)
_LOSSES: Final = (
    Key(
        table=Table.LOSSES,
        name="run_state",
        field="run_state",
        kind=_SHARE,
        meaning="What was in memory is lost, and the disks are as after a power failure: sessions begin anew.",
        why="more than the domain is not lost with it",
        rows=(Row.FEASIBILITY,),
    ),
    Key(
        table=Table.LOSSES,
        name="orderly_stop",
        field="orderly_stop",
        kind=_SHARE,
        meaning="Its sessions end, and everything was written to disk first.",
        why="more than the domain is not lost with it",
        rows=(Row.FEASIBILITY,),
    ),
    Key(
        table=Table.LOSSES,
        name="standstill_per_hour",
        field="standstill_per_hour",
        kind=_SHARE,
        meaning="It stands still for an hour: nobody is served, nothing is lost.",
        why="more than the domain is not lost with it",
        rows=(Row.FEASIBILITY,),
    ),
    Key(
        table=Table.LOSSES,
        name="person",
        field="person_ms",
        kind=Duration(_MINUTE, 30 * _DAY),
        meaning="How long it takes until a person comes: so long stands still what only a person starts again, and so "
        "far ahead an error is worth an operation.",
        why="nobody is there within a minute; a host that nobody sees for a month has no operator",
        rows=(Row.FEASIBILITY, Row.AHEAD),
    ),
    Key(
        table=Table.LOSSES,
        name="rollback",
        field="rollback_ms",
        kind=Duration(_MINUTE, 365 * _DAY),
        meaning="The age of a checkpoint with which 63 % of the domain are lost by going back to it.",
        why="less than a minute is no checkpoint; after a year nothing of it is of use",
        rows=(Row.FEASIBILITY,),
    ),
    Key(
        table=Table.LOSSES,
        name="lost_page_needed",
        field="lost_page_needed",
        kind=_SHARE,
        meaning="The chance that a guest that goes on without one of its pages needs it, and its run state is lost.",
        why="a chance lies between never and always",
        rows=(Row.FEASIBILITY,),
    ),
    Key(
        table=Table.LOSSES,
        name="copier_takes_host",
        field="copier_takes_host",
        kind=_SHARE,
        meaning="The chance that an error that comes while a domain is copied hits Dom0, which copies, and the host "
        "halts with all its domains.",
        why="a chance lies between never and always",
        rows=(Row.FEASIBILITY,),
    ),
)

_SELECTORS: Final = (
    Key(
        table=Table.DOMAIN,
        name="name",
        field="name",
        kind=Text(255),
        meaning="Which domains: a shell pattern of their names (* ? [a-z]).",
        why="libvirt keeps a domain's definition in a file of its name, and file names end there",
    ),
    Key(
        table=Table.DOMAIN,
        name="uuid",
        field="uuid",
        kind=Uuid(),
        meaning="Which domains: the one of this UUID; empty for any.",
    ),
    Key(
        table=Table.DOMAIN,
        name="labels",
        field="labels",
        kind=Texts(Text(63), 64),
        meaning="Which domains: those that carry all of these labels.",
        why="enough for any inventory, and bounded",
    ),
)


def _rule_keys(table: Table) -> tuple[Key, ...]:
    """What can be said of a domain: by a rule, and for all others."""
    return (
        Key(
            table=table,
            name="on_ue",
            field="on_ue",
            kind=Choice(Answer),
            meaning="Dom0's answer when the domain has lost memory that nobody has consumed yet: notify it, operate on "
            "it, both, or leave it to the hypervisor.",
            rows=(Row.ASK_DOM0,),
        ),
        Key(
            table=table,
            name="on_srar",
            field="on_srar",
            kind=Choice(Answer),
            meaning="The same when the domain itself consumed the error, and stands still.",
            rows=(Row.ASK_DOM0,),
        ),
        Key(
            table=table,
            name="operations",
            field="operations",
            kind=Choices(Operation),
            meaning="Operations that may be done to the domain after an error. The least expected loss decides, then "
            "this order.",
            rows=(Row.ON_DOMAIN, Row.FEASIBILITY, Row.PV_DOM0, Row.HVM_DOM0),
        ),
        Key(
            table=table,
            name="ahead",
            field="ahead",
            kind=Choices(Operation),
            meaning="Operations that may be done to the domain ahead of an error, when a rank is about to fail.",
            rows=(Row.AHEAD, Row.FEASIBILITY),
        ),
        Key(
            table=table,
            name="keep",
            field="keep",
            kind=Weight(0, 1000),
            meaning="What the loss of the domain would cost, against 1 for an ordinary one.",
            why="nothing costs less than nothing; a thousand ordinary domains are a host",
            rows=(Row.FEASIBILITY,),
        ),
        Key(
            table=table,
            name="vmce",
            field="vmce",
            kind=Switch(),
            meaning="A vMCE may be injected if the guest enabled MCA.",
            rows=(Row.HVM_INJECT, Row.INJECTION),
        ),
        Key(
            table=table,
            name="inform_of_ce",
            field="inform_of_ce",
            kind=Switch(),
            meaning="The guest's agent hears of corrected errors as well, once for each page; not of a storm's.",
            rows=(Row.COUNT, Row.INFORM),
        ),
    )


KEYS: Final[tuple[Key, ...]] = (
    *_HOST,
    *_DEADLINES,
    *_BUDGETS,
    *_TRENDS,
    *_counted("core", "CPU core", _POLLED, acts=True),
    *_TOLD,
    *_LOSSES,
    *_rule_keys(Table.OTHERWISE),
    *_SELECTORS,
    *_rule_keys(Table.DOMAIN),
)
"""Every key, in the order in which a file is written."""

BY_TABLE: Final[Mapping[Table, Mapping[str, Key]]] = MappingProxyType(
    {table: {key.name: key for key in KEYS if key.table is table} for table in Table}
)

BY_PATH: Final[Mapping[str, Key]] = MappingProxyType({key.path: key for key in KEYS})
