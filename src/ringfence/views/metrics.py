"""Every number that Ringfence shows to a monitoring system: one table; ``metric_values`` has the values for it.

The table is the one place where a number has its name, its unit, its labels with their bounds, its meaning and its use;
the exposition, docs/metrics.md, the Grafana dashboard and the alert rules are made from it or checked against it.
Names follow Prometheus' conventions (prometheus.io/docs/practices/naming): base units, ``_total`` for what only grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ringfence.journal.tallies import DIMMS_TOLD_APART

PREFIX: Final = "ringfence_"
OWN: Final = "own"
"""The severity of a case that no error began: Dom0's own, ahead of errors or by a person's word."""


class Kind(StrEnum):
    """What sort of number, in the words of Prometheus and OpenMetrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Since(StrEnum):
    """What a number covers."""

    JOURNAL = "since the journal began"
    """It goes on over restarts, and over what the journal no longer keeps."""
    PROCESS = "since the process began"
    """It begins at 0 with each start, as Prometheus expects of a counter."""
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Label:
    """A label, and how many values it can have, with the reason."""

    name: str
    meaning: str
    bound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One family of numbers. ``name`` is without the prefix and without ``_total``; ``look`` is when to look at it."""

    name: str
    kind: Kind
    since: Since
    meaning: str
    comes_from: str
    look: str
    unit: str = ""
    labels: tuple[Label, ...] = ()
    row: str = ""
    """The heading under which the page and the dashboard show it."""

    @property
    def family(self) -> str:
        """The family's name: prefix, name and unit."""
        return f"{PREFIX}{self.name}{f'_{self.unit}' if self.unit else ''}"

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series, as queries use them."""
        match self.kind:
            case Kind.COUNTER:
                return (f"{self.family}_total",)
            case Kind.INFO:
                return (f"{self.family}_info",)
            case Kind.HISTOGRAM:
                return (f"{self.family}_bucket", f"{self.family}_sum", f"{self.family}_count")
            case Kind.GAUGE:
                return (self.family,)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a time was at most each of ``bounds_s``; ``counts`` has one more, for what was longer than all."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, with the values of its labels in their order."""

    metric: Metric
    value: float | Histogram
    labels: tuple[str, ...] = ()


# --- labels -----------------------------------------------------------------------------------------------------------

_SEVERITY: Final = Label("severity", "the class of the error", "8: those of reference/severity.md, and `other`")
_DIMM: Final = Label(
    "dimm",
    "the module by its label or its place",
    f"{DIMMS_TOLD_APART + 1}: the first {DIMMS_TOLD_APART} names, and `other`",
)
_ROW: Final = Label("row", "the row of the concept", "30: those of reference/concept.md, and `other`")
_SUSPECT: Final = Label("suspect", "the kind of part", "15: memory's parts, cores, caches, links")
_RECEIVER: Final = Label("receiver", "the webhook's name in the configuration", "16: as many as may be configured")
_SOURCE: Final = Label("source", "the source's name in the configuration", "about 10: the kinds of sources")
_QUEUE: Final = Label("queue", "which queue", "3: `writer inbox`, `clients`, `unwritten events`")

# --- the table --------------------------------------------------------------------------------------------------------

_WRONG, _ERRORS, _DECIDED, _PIPELINE = (
    "What is wrong now",
    "Errors and what they point at",
    "Decisions and outcomes",
    "The pipeline's health",
)
ROWS: Final = (_WRONG, _ERRORS, _DECIDED, _PIPELINE)
"""The headings of page and dashboard, in their order."""

UP: Final = Metric(
    row=_WRONG, name="up", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1: the service answers, and its writer's thread lives.",
    comes_from="there is no other value: a service that is not there gives none",
    look="it is missing: nobody decides on this host; a hypervisor that acts by itself still does",
)  # fmt: skip
BUILD: Final = Metric(
    row=_WRONG, name="build", kind=Kind.INFO, since=Since.NOW,
    meaning="Which Ringfence, and on what.",
    comes_from="the program",
    look="hosts of a fleet differ in what they do",
    labels=(
        Label("version", "of Ringfence", "1 at a time"),
        Label("hypervisor", "what it runs on", "1 at a time"),
        Label("policy", "the digest of the policy in force", "1 at a time"),
    ),
)  # fmt: skip
STARTED: Final = Metric(
    row=_WRONG, name="start_time", unit="seconds", kind=Kind.GAUGE, since=Since.NOW,
    meaning="When the process began, since the epoch.",
    comes_from="the wall clock at start",
    look="it is younger than it should be",
)  # fmt: skip
STARTS: Final = Metric(
    row=_WRONG, name="starts", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Lives of the service; each reset of the host that it lived through begins one, too.",
    comes_from="`Started` events",
    look="it grows without anybody's doing: the service or the host falls over",
)  # fmt: skip
PROBLEMS: Final = Metric(
    row=_WRONG, name="problems", kind=Kind.GAUGE, since=Since.NOW,
    meaning="How many things are wrong; each is a sentence in `ringfence status`.",
    comes_from="the service's health",
    look="it is above 0: run `ringfence status`",
)  # fmt: skip
HALTED: Final = Metric(
    row=_WRONG, name="host_halted", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1 while the host stands still after an error that could not be confined.",
    comes_from="the hypervisor",
    look="it is 1; Ringfence on a real host goes down with it, so that this is seen on the model host only",
)  # fmt: skip
DOM0_ABLE: Final = Metric(
    row=_WRONG, name="dom0_able", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1 if Dom0 is unhurt and has an MCA event handler, so that it is asked about guests.",
    comes_from="the hypervisor; the concept's rows I.2c-dom0 and B.3",
    look="it is 0: guests without a handler of their own are killed instead of asked about",
)  # fmt: skip
DOM0_HURT: Final = Metric(
    row=_WRONG, name="dom0_hurt", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1 if an error hit Dom0, and no probe has shown yet that it works again.",
    comes_from="the hypervisor; the concept's row B.3",
    look="it is 1: plan a reboot",
)  # fmt: skip
DOMAINS: Final = Metric(
    row=_WRONG, name="domains", kind=Kind.GAUGE, since=Since.NOW,
    meaning="Domains that live, Dom0 among them.",
    comes_from="the hypervisor",
    look="it falls together with errors",
)  # fmt: skip
DRY_RUN: Final = Metric(
    row=_WRONG, name="policy_dry_run", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1 if everything is decided and journaled, and nothing is ordered.",
    comes_from="the policy",
    look="it is 1 on a host that should be protected",
)  # fmt: skip
POLICY_REFUSED: Final = Metric(
    row=_WRONG, name="policy_refused", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1 if the policy's file was changed to something that is no policy: the one before it is in force.",
    comes_from="the last reload",
    look="it is 1: run `ringfence policy check`",
)  # fmt: skip
APPROVALS: Final = Metric(
    row=_WRONG, name="approvals_waiting", kind=Kind.GAUGE, since=Since.NOW,
    meaning="Operations that wait for a person's word.",
    comes_from="the journal's state",
    look="it is above 0: run `ringfence approve`; each has a deadline, after which the policy goes on without you",
)  # fmt: skip
CASES_OPEN: Final = Metric(
    row=_WRONG, name="cases_open", kind=Kind.GAUGE, since=Since.NOW,
    meaning="Open cases, by the class of the error that began them.",
    comes_from="the journal's state",
    look="it stays above 0: `ringfence cases` says what each waits for",
    labels=(Label("severity", "the class of the error, or `own`: Dom0's own case", "9"),),
)  # fmt: skip
OLDEST: Final = Metric(
    row=_WRONG, name="case_oldest_open", unit="seconds", kind=Kind.GAUGE, since=Since.NOW,
    meaning="The age of the oldest open case; 0 if none is open.",
    comes_from="the journal's state",
    look="it grows past what your longest operation takes: something waits that will not come",
)  # fmt: skip

ERRORS: Final = Metric(
    row=_ERRORS, name="errors", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Errors, as many as the evidence tells of; a record can tell of many. What an earlier boot left is not "
    "among them.",
    comes_from="`Received` and `Repeated` events and their counts",
    look="a severity other than CORRECTED grows at all",
    labels=(_SEVERITY, Label("unit", "what sort of thing erred", "7: memory, core or cache, link, ...")),
)  # fmt: skip
DIMM_ERRORS: Final = Metric(
    row=_ERRORS, name="dimm_errors", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="The same errors by module, as the first report of each names it; those that name none are left out.",
    comes_from="`Received` and `Repeated` events and their counts",
    look="CORRECTED of one DIMM grows faster than that of the others",
    labels=(_SEVERITY, _DIMM),
)  # fmt: skip
LEFT_OVER: Final = Metric(
    row=_ERRORS, name="left_over_records", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Records that an earlier boot left in banks, ERST or BERT. They are history, and not among the errors.",
    comes_from="`Received` events that are left over",
    look="it grows after a reboot that nobody ordered: the record says why the host went down",
    labels=(_SEVERITY,),
)  # fmt: skip
RECORDS: Final = Metric(
    row=_ERRORS, name="records", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Records of errors that became durable.",
    comes_from="`Received` events",
    look="its rate is the load on the service",
)  # fmt: skip
FURTHER: Final = Metric(
    row=_ERRORS, name="further_reports", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Further reports of errors that were in the journal already: more evidence, and no more errors.",
    comes_from="`AlsoSeen` events",
    look="it stands still while several sources tell of the same machine: one of them is silent",
)  # fmt: skip
UNRECOGNISED: Final = Metric(
    row=_ERRORS, name="records_unrecognised", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="What looks like evidence and cannot be read. It is kept, byte for byte.",
    comes_from="`Unrecognised` events",
    look="it grows: a source speaks a form that this version does not know; report it with `ringfence events`",
)  # fmt: skip
LOST: Final = Metric(
    row=_ERRORS, name="evidence_lost", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Pieces of evidence that were dropped before anybody could fetch them, as far as their source knows.",
    comes_from="`Lost` events",
    look="`urgent` grows at all: an uncorrected error may have gone unseen; `nonurgent` grows in storms",
    labels=(Label("urgency", "which queue overran", "2: `urgent`, `nonurgent`"),),
)  # fmt: skip
TRENDS: Final = Metric(
    row=_ERRORS, name="trends", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Times that the corrected errors of a part passed the policy's threshold.",
    comes_from="`TrendSeen` events (B.8)",
    look="it grows: `ringfence events` names the part and what was done ahead of its failure",
    labels=(_SUSPECT,),
)  # fmt: skip
FAULTS: Final = Metric(
    row=_ERRORS, name="faults", kind=Kind.GAUGE, since=Since.NOW,
    meaning="Parts at fault, by how far their treatment is; repaired, replaced and acquitted ones are not counted.",
    comes_from="the journal's state",
    look="`untreated` is above 0: a person must replace the part",
    labels=(_SUSPECT, Label("stage", "how far it is", "4: diagnosed, acting, isolated, untreated")),
)  # fmt: skip
PAGES: Final = Metric(
    row=_ERRORS, name="pages_offlined", kind=Kind.GAUGE, since=Since.NOW,
    meaning="Pages that Ringfence had taken out of use and has not put back, by module: what the policy's budget "
    "counts. A reboot puts them back into use, and Ringfence takes them out again.",
    comes_from="the journal's state",
    look="one module has many: replace it before the policy's budget is used up",
    labels=(_DIMM,),
)  # fmt: skip
PAGES_BAD: Final = Metric(
    row=_ERRORS, name="pages_known_bad", kind=Kind.GAUGE, since=Since.NOW,
    meaning="Pages judged bad: they stay so over reboots, and are taken out of use again (`ringfence badlist`).",
    comes_from="the journal's state",
    look="it differs from the pages that are out of use: some could not be taken out again",
)  # fmt: skip
CPUS_BAD: Final = Metric(
    row=_ERRORS, name="cpus_known_bad", kind=Kind.GAUGE, since=Since.NOW,
    meaning="CPUs judged bad; they stay so over reboots.",
    comes_from="the journal's state",
    look="it is above 0: the socket is to be replaced",
)  # fmt: skip

CASES_OPENED: Final = Metric(
    row=_DECIDED, name="cases_opened", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Cases that there ever were.",
    comes_from="the journal's state",
    look="its rate is how often something happens that must be decided about",
)  # fmt: skip
CASES_CLOSED: Final = Metric(
    row=_DECIDED, name="cases_closed", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Cases that have their outcome, those that another took over among them.",
    comes_from="`Closed` and `Superseded` events",
    look="it falls behind the opened ones",
)  # fmt: skip
OUTCOMES: Final = Metric(
    row=_DECIDED, name="outcomes", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="What became of each part of a closed case: of each guest that was hit, and of the host.",
    comes_from="the entries of `Closed` events",
    look="`killed`, `stuck`, `unknown` or `halted` grow",
    labels=(_ROW, Label("outcome", "the part's end", "15: the ends of reference/flow.md")),
)  # fmt: skip
DECISIONS: Final = Metric(
    row=_DECIDED, name="decisions", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Decisions, by the row of the concept that they rest on and the seat that decided.",
    comes_from="`Decided` events",
    look="I.2x (halt), I.3a-kill and I.3b-kill: what guests or the host are lost by",
    labels=(_ROW, Label("seat", "who decided", "2: hypervisor, Dom0")),
)  # fmt: skip
ORDERS: Final = Metric(
    row=_DECIDED, name="orders", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Attempts to carry out a step that have ended, each by itself.",
    comes_from="`Carried` events",
    look="`failed` or `unknown` grow: what was decided was not done",
    labels=(
        Label("step", "the kind of step", "24: those of reference/journal.md, and `other`"),
        Label("status", "what became of it", "5: done, pending, refused, failed, unknown"),
    ),
)  # fmt: skip
ORDERS_RUNNING: Final = Metric(
    row=_DECIDED, name="orders_running", kind=Kind.GAUGE, since=Since.NOW,
    meaning="Orders that have begun and not ended.",
    comes_from="the journal's state",
    look="it stays above 0 while no guest is being migrated or saved",
)  # fmt: skip
DEADLINES: Final = Metric(
    row=_DECIDED, name="deadlines_passed", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Times that were over before what was waited for came.",
    comes_from="`DeadlinePassed` events",
    look="`answer` grows: Dom0 is too slow; `approval`: nobody looks; `operation`: the toolstack hangs",
    labels=(Label("which", "what was waited for", "4: answer, approval, operation, evidence"),),
)  # fmt: skip
WORDS: Final = Metric(
    row=_DECIDED, name="approvals", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="How often people were asked, and what they said.",
    comes_from="`ApprovalAsked` and `ApprovalGiven` events",
    look="`asked` grows and neither of the others does",
    labels=(Label("word", "asked, granted or denied", "3"),),
)  # fmt: skip
INSTRUCTIONS: Final = Metric(
    row=_DECIDED, name="instructions", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Operations that people instructed, and whether they were taken.",
    comes_from="`Instructed` events",
    look="somebody did something to a guest, and you want to know how often",
    labels=(
        Label("operation", "which", "8: the operations, and `other`"),
        Label("answer", "taken or refused", "2"),
    ),
)  # fmt: skip

EVENTS: Final = Metric(
    row=_PIPELINE, name="journal_events", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="The number of the journal's last event.",
    comes_from="the journal",
    look="it stands still while errors come",
)  # fmt: skip
JOURNAL: Final = Metric(
    row=_PIPELINE, name="journal_size", unit="bytes", kind=Kind.GAUGE, since=Since.NOW,
    meaning="What the journal takes on the disk, its write-ahead log included.",
    comes_from="the file system",
    look="it comes near to its bound",
)  # fmt: skip
RESERVE: Final = Metric(
    row=_PIPELINE, name="journal_reserve_ready", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1 if the room that is kept for a full disk is there.",
    comes_from="the journal",
    look="it is 0: make room on its disk now",
)  # fmt: skip
UNKEPT: Final = Metric(
    row=_PIPELINE, name="events_unkept", kind=Kind.COUNTER, since=Since.PROCESS,
    meaning="Events that found no room on the disk and are in the kernel's log only.",
    comes_from="the ledger",
    look="it is above 0: save the kernel's log before it is overwritten",
)  # fmt: skip
UNREAD: Final = Metric(
    row=_PIPELINE, name="journal_events_unread", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Events that a later version wrote and this one cannot read. They are kept.",
    comes_from="the journal",
    look="it is above 0 after a downgrade",
)  # fmt: skip
STRAYS: Final = Metric(
    row=_PIPELINE, name="journal_events_stray", kind=Kind.COUNTER, since=Since.JOURNAL,
    meaning="Events that do not fit what came before them; they change nothing.",
    comes_from="the journal's fold",
    look="it grows: a defect of Ringfence or of a backend",
)  # fmt: skip
LATENCY: Final = Metric(
    row=_PIPELINE, name="decision_latency", unit="seconds", kind=Kind.HISTOGRAM, since=Since.PROCESS,
    meaning="From when evidence, or anything else that is written down, was handed to the writer until what follows "
    "from it was decided and durable. It includes the wait in the inbox and the disk's fsync.",
    comes_from="the writer's thread, measured for each turn and each request that wrote an event",
    look="its 99th percentile passes 5 ms in quiet or 50 ms in a storm: the disk is slow, or the host is",
)  # fmt: skip
TURN: Final = Metric(
    row=_PIPELINE, name="turn_duration", unit="seconds", kind=Kind.HISTOGRAM, since=Since.PROCESS,
    meaning="How long one turn of the loop that wrote something kept the writer's thread.",
    comes_from="the writer's thread",
    look="the latency is high: it tells a long turn from a long wait",
)  # fmt: skip
QUEUE: Final = Metric(
    row=_PIPELINE, name="queue_length", kind=Kind.GAUGE, since=Since.NOW,
    meaning="How many wait in a queue now.",
    comes_from="the queues themselves",
    look="it comes near to the queue's bound",
    labels=(_QUEUE,),
)  # fmt: skip
QUEUE_BOUND: Final = Metric(
    row=_PIPELINE, name="queue_bound", kind=Kind.GAUGE, since=Since.NOW,
    meaning="How many may wait in a queue.",
    comes_from="the program",
    look="you set an alert on the length",
    labels=(_QUEUE,),
)  # fmt: skip
TURNED_AWAY: Final = Metric(
    row=_PIPELINE, name="clients_turned_away", kind=Kind.COUNTER, since=Since.PROCESS,
    meaning="Clients of the control socket that were not let in: not allowed, or too many at a time.",
    comes_from="the control socket",
    look="it grows: somebody tries, or something leaks connections",
)  # fmt: skip
DROPPED: Final = Metric(
    row=_PIPELINE, name="clients_dropped", kind=Kind.COUNTER, since=Since.PROCESS,
    meaning="Clients of the control socket that did not read what they had asked for.",
    comes_from="the control socket",
    look="a follower of events keeps losing its connection",
)  # fmt: skip
SOURCE_UP: Final = Metric(
    row=_PIPELINE, name="source_up", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1 if a source of evidence is being read.",
    comes_from="the source's attendant",
    look="it is 0: what the source would have told is not seen; `ringfence status` says why",
    labels=(_SOURCE,),
)  # fmt: skip
SOURCE_ITEMS: Final = Metric(
    row=_PIPELINE, name="source_items", kind=Kind.COUNTER, since=Since.PROCESS,
    meaning="Records, unreadable pieces and losses that a source has handed over.",
    comes_from="the source's attendant",
    look="one source is silent while another speaks of the same machine",
    labels=(_SOURCE,),
)  # fmt: skip
SOURCE_LOST: Final = Metric(
    row=_PIPELINE, name="source_lost", kind=Kind.COUNTER, since=Since.PROCESS,
    meaning="What a source says that it had and could not give, at least.",
    comes_from="the source's own account of overruns",
    look="it grows: a buffer of the kernel's is too small for the storm",
    labels=(_SOURCE,),
)  # fmt: skip
SOURCE_SILENT: Final = Metric(
    row=_PIPELINE, name="source_silent", unit="seconds", kind=Kind.GAUGE, since=Since.NOW,
    meaning="How long ago the thread that reads a source last showed a sign of life.",
    comes_from="the source's attendant",
    look="it passes 15 s: the source is stuck in a read; the others go on",
    labels=(_SOURCE,),
)  # fmt: skip
OUTLET_UP: Final = Metric(
    row=_PIPELINE, name="outlet_up", kind=Kind.GAUGE, since=Since.NOW,
    meaning="1 if whoever is told took the last thing that it was told, or has not been told anything yet.",
    comes_from="the outlet",
    look="it is 0: `ringfence status` says what the receiver answers",
    labels=(_RECEIVER,),
)  # fmt: skip
OUTLET_LAG: Final = Metric(
    row=_PIPELINE, name="outlet_lag_events", kind=Kind.GAUGE, since=Since.NOW,
    meaning="Events of the journal that an outlet has not looked at, or not got rid of, yet.",
    comes_from="the journal's last number less the outlet's cursor",
    look="it grows: the receiver is away or slow; nothing is lost while the journal keeps the events",
    labels=(_RECEIVER,),
)  # fmt: skip
OUTLET_SENT: Final = Metric(
    row=_PIPELINE, name="outlet_attempts", kind=Kind.COUNTER, since=Since.PROCESS,
    meaning="Attempts to tell a receiver, by what came of them.",
    comes_from="the outlet",
    look="`failed` grows; `given up` above 0: the receiver refuses events for good, and they were passed over",
    labels=(_RECEIVER, Label("result", "what came of it", "3: `taken`, `failed`, `given up`")),
)  # fmt: skip

TABLE: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
"""Every metric, in the order of their declaration."""
