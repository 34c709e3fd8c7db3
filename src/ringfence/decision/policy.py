"""What the operator wants: a policy as a value. The defaults are safe without reading a manual."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from ringfence.diagnosis.serd import Engine, SerdRule
from ringfence.world.domain import Domain
from ringfence.world.situation import Suspect


class Operation(StrEnum):
    """A case II operation on a domain (II.2)."""

    PAUSE = "pause"
    SAVE = "save"
    RESTORE = "restore"
    MIGRATE = "migrate"
    SHUT_DOWN = "shutdown"
    RESTART = "restart"
    DESTROY = "destroy"


class Answer(StrEnum):
    """What Dom0 answers when it is asked (I.2c-dom0)."""

    NOTIFY = "notify"
    OPERATE = "operate"
    BOTH = "notify-and-operate"
    LEAVE = "leave"
    """The row without Dom0 applies."""


class OnUnlocated(StrEnum):
    """What an uncorrected error that cannot be located does to the host (I.2u)."""

    DEGRADE = "degrade"
    DRAIN = "drain"
    HALT = "halt"


class OnPageTrend(StrEnum):
    """What is done when the corrected errors of one page pass their threshold (II.1)."""

    NONE = "none"
    EXCHANGE = "exchange"
    OFFLINE = "offline"
    OPERATE = "operate"
    """Offline it; where that waits for its owner, it is operated on so that it lets go, and comes back if saved."""


class OnRankTrend(StrEnum):
    """What is done when a rank or DIMM is about to fail (II.1)."""

    NONE = "none"
    OPERATE = "operate"
    """The cheapest operation that saves each domain concerned (B.6)."""
    DRAIN = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long each wait may last, milliseconds.

    ``dom0_ms`` for an answer, ``evidence_ms`` for saving evidence before a halt, ``guest_ms`` for a PV MCA handler,
    ``mcip_ms`` for a guest to leave an earlier machine check, ``operation_ms`` for a case II operation, ``approval_ms``
    for a person.
    """

    dom0_ms: int = 2_000
    evidence_ms: int = 1_000
    guest_ms: int = 1_000
    mcip_ms: int = 500
    operation_ms: int = 120_000
    approval_ms: int = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Bounds on what Ringfence does by itself.

    ``pages_per_dimm`` taken out ahead of an error in all; ``operations_at_a_time`` on domains; ``vmces_per_error`` lost
    pages told to one guest by vMCE before the next row applies (B.5).
    """

    pages_per_dimm: int = 64
    operations_at_a_time: int = 2
    vmces_per_error: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """When the history of corrected errors makes an uncorrected one likely (II.1, B.8), for each part: how many, and
    within what time (seconds). Rows, DIMMs, caches, links and sockets that pass theirs are told to people; nothing is
    done by itself about them.

    Where the defaults come from: ``diagnosis.serd.KNOWN`` (mcelog for page, core, DIMM and socket, rasdaemon for the
    row, illumos for cache and link); distinct syndromes of one rank: msg01049, within the time of illumos's rank
    engine. ``rank_ue_ms``: how soon such a rank lets one expect an uncorrected error, on the average: hours to days
    ahead, says msg01049; a day is a judgement.
    """

    engine: Engine = Engine.WINDOW
    page_count: int = 10
    page_window_s: int = 24 * 3600
    core_count: int = 10
    core_window_s: int = 24 * 3600
    rank_syndromes: int = 2
    rank_window_s: int = 72 * 3600
    rank_ue_ms: int = 24 * 3_600_000
    row_count: int = 50
    row_window_s: int = 24 * 3600
    dimm_count: int = 10
    dimm_window_s: int = 24 * 3600
    cache_count: int = 4
    cache_window_s: int = 72 * 3600
    link_count: int = 4
    link_window_s: int = 72 * 3600
    socket_count: int = 100
    socket_window_s: int = 24 * 3600
    on_page: OnPageTrend = OnPageTrend.EXCHANGE
    on_rank: OnRankTrend = OnRankTrend.OPERATE

    def rule(self, suspect: Suspect) -> SerdRule | None:
        """The threshold of a kind of part; None if none is counted."""
        n, window_s = {
            Suspect.PAGE: (self.page_count, self.page_window_s),
            Suspect.CORE: (self.core_count, self.core_window_s),
            Suspect.RANK: (self.rank_syndromes, self.rank_window_s),
            Suspect.ROW: (self.row_count, self.row_window_s),
            Suspect.DIMM: (self.dimm_count, self.dimm_window_s),
            Suspect.CACHE: (self.cache_count, self.cache_window_s),
            Suspect.LINK: (self.link_count, self.link_window_s),
            Suspect.SOCKET: (self.socket_count, self.socket_window_s),
        }.get(suspect, (0, 0))
        if not n:
            return None
        distinct = suspect is Suspect.RANK
        # Syndromes are told apart over the whole window: a bucket has none to tell apart.
        engine = Engine.WINDOW if distinct else self.engine
        return SerdRule(name=suspect, n=n, window_s=window_s, source="policy", engine=engine, distinct=distinct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What operations are weighed by (B.6): shares of a domain that is gone for good, which is 1, and chances.

    They are judgements, not measurements: no source gives them. Each is named where it enters a sum. What decides is
    the order that the defaults make: moved < saved < put back to a fresh checkpoint < shut down < restarted < put back
    to an old one < gone.

    ``run_state``: what was in memory is lost, and the disks are as after a power failure: journals are replayed,
    sessions begin anew, unwritten data is gone. A quarter: services are built to live through it, their users notice.
    ``orderly_stop``: sessions end, but everything was written to disk first; less than half of that.
    ``standstill_per_hour``: nobody is served for an hour, nothing is lost; a hundred hours weigh as much as the domain.
    ``person_ms``: until a person comes, a night: how long a domain stays as it is that only a person starts again.
    ``rollback_ms``: memory and disks go back together to a checkpoint, all work since is lost: one of this age costs
    63 % of the domain, ``1 - exp(-age / rollback_ms)``. Under 7 hours it is better than a restart.
    ``lost_page_needed``: the chance that the guest still needs a given lost page and fails without it. Half: roughly
    the part of a guest's memory that is not page cache or free, and that nobody can read again from elsewhere.
    ``copier_takes_host``: the chance that the error that comes during a copy is consumed by the copier, in Dom0, and
    takes the host along. Small: the guest itself and patrol scrubbing read the same memory, and Dom0 may survive it.
    """

    run_state: float = 0.25
    orderly_stop: float = 0.1
    standstill_per_hour: float = 0.01
    person_ms: int = 8 * 3_600_000
    rollback_ms: int = 24 * 3_600_000
    lost_page_needed: float = 0.5
    copier_takes_host: float = 0.1

    @property
    def left_to_a_person(self) -> float:
        """It stands still until a person comes."""
        return min(1.0, self.standstill_per_hour * self.person_ms / 3_600_000)

    @property
    def set_back(self) -> float:
        """What an operation leaves that failed half way: the run state is lost, and only a person starts it again."""
        return min(1.0, self.run_state + self.left_to_a_person)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRule:
    """What holds for some domains: the first rule that matches a domain is its own.

    A domain matches if ``name`` (a shell pattern) fits, ``uuid`` is its own, and it carries all ``labels``; what is
    empty matches every domain. ``on_ue`` is Dom0's answer for an unconsumed uncorrected error, ``on_srar`` for a
    consumed one; ``operations`` are those that may be done to it, and ``keep`` is how much its loss would cost, against
    1 for an ordinary domain. ``vmce``: a vMCE may be injected if the guest enabled MCA (B.5). ``inform_of_ce``: its
    agent hears of corrected errors as well.
    """

    name: str = "*"
    uuid: str = ""
    labels: frozenset[str] = frozenset()
    on_ue: Answer = Answer.NOTIFY
    on_srar: Answer = Answer.NOTIFY
    operations: tuple[Operation, ...] = (Operation.RESTORE, Operation.RESTART, Operation.DESTROY)
    ahead: tuple[Operation, ...] = (Operation.MIGRATE, Operation.SAVE)
    keep: float = 1.0
    vmce: bool = True
    inform_of_ce: bool = False

    def matches(self, domain: Domain) -> bool:
        """Whether the rule is about this domain."""
        return (
            fnmatchcase(domain.name, self.name)
            and (not self.uuid or self.uuid == domain.uuid)
            and self.labels <= domain.labels
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All that the operator can want. ``approve`` are operations that a person must approve. ``dry_run``: Dom0's seat
    decides and journals everything, and orders nothing: the hypervisor does what it would do without Ringfence.
    """

    deadlines: Deadlines = Deadlines()
    budgets: Budgets = Budgets()
    trends: Trends = Trends()
    losses: Losses = Losses()
    unlocated: OnUnlocated = OnUnlocated.DEGRADE
    approve: frozenset[Operation] = frozenset()
    dry_run: bool = False
    domains: tuple[DomainRule, ...] = ()
    otherwise: DomainRule = field(default_factory=DomainRule)

    def rule_for(self, domain: Domain) -> DomainRule:
        """The rule that holds for a domain."""
        for rule in self.domains:
            if rule.matches(domain):
                return rule
        return self.otherwise


DEFAULT = Policy()
"""What holds without a policy file."""
