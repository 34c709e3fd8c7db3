"""What there is to tell: one table of topics, each with its name, its message id, its weight and its words.

The webhook's event types, the journal's message ids, the message catalog and docs/webhooks.md are made from it or
checked against it. A message id is fixed for ever: searches and catalogs in the field go by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class Priority(IntEnum):
    """syslog's priorities (syslog(3)), as far as they are used."""

    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class Topic(StrEnum):
    """What can be told. The value is the CloudEvents type without its prefix, and the name in a configuration."""

    ERROR = "error"
    CASE_OPENED = "case.opened"
    DECISION = "decision"
    ORDER_FAILED = "order.failed"
    CASE_CLOSED = "case.closed"
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_GIVEN = "approval.given"
    INSTRUCTION = "instruction"
    DEADLINE_PASSED = "deadline.passed"
    TREND = "trend"
    FAULT_ENDED = "fault.ended"
    EVIDENCE_LOST = "evidence.lost"
    UNRECOGNISED = "evidence.unrecognised"
    DOM0 = "dom0"
    STARTED = "service.started"
    STOPPED = "service.stopped"
    LOADED = "configuration"
    HEALTH_PROBLEM = "health.problem"
    HEALTH_WELL = "health.well"
    GAP = "journal.gap"
    SALVAGED = "journal.salvaged"
    TEST = "test"


PREFIX: Final = "ringfence."
"""Of a CloudEvents type. The specification asks for a reverse-DNS name where there is a domain; this project has none.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A topic. ``message_id`` is a 128-bit number (systemd.journal-fields(7), MESSAGE_ID); ``priority`` is the weight
    that it has if nothing about the case says otherwise. ``do`` is what a person can do about it.
    """

    message_id: str
    priority: Priority
    subject: str
    meaning: str
    do: str


TOPICS: Final[Mapping[Topic, About]] = MappingProxyType(
    {
        Topic.ERROR: About(
            message_id="494a45279f35413d8eab35755db7bbd7", priority=Priority.ERROR,
            subject="An uncorrected hardware error",
            meaning="Hardware reported an error that it could not correct. Corrected errors are not told one by one: "
            "they are numbers (docs/metrics.md), and a trend when they become too many.",
            do="`ringfence cases` says what is being done about it; nothing waits for you unless an approval is asked.",
        ),
        Topic.CASE_OPENED: About(
            message_id="cdb2be75ceb24908a3eaffc35f1cec07", priority=Priority.NOTICE,
            subject="A case was opened",
            meaning="Something happened that must be decided about: an error, a trend, or a person's instruction.",
            do="`ringfence explain CASE` follows it step by step.",
        ),
        Topic.DECISION: About(
            message_id="00a28d77bb7c4b618798ded859a2366d", priority=Priority.NOTICE,
            subject="A decision was taken",
            meaning="A row of the concept was applied to a guest or to the host.",
            do="Nothing. The reasons are in the event, and in `ringfence explain CASE`.",
        ),
        Topic.ORDER_FAILED: About(
            message_id="83603ebfed774b888fb23d9f259aa12d", priority=Priority.ERROR,
            subject="A step was not carried out",
            meaning="What was decided was refused or failed, or nobody can tell whether it happened. The next row of "
            "the table is applied.",
            do="See why in the event. A step that is refused again and again is a fault of the set-up.",
        ),
        Topic.CASE_CLOSED: About(
            message_id="da767123c843456e81313c0238dbabc9", priority=Priority.NOTICE,
            subject="A case has its outcome",
            meaning="Every part of the case has ended: each guest that was hit, and the host's own part.",
            do="Look at guests that were killed or are stuck; replace the part that the case names.",
        ),
        Topic.APPROVAL_ASKED: About(
            message_id="573126b7d84d42caa3a379d36fc71b66", priority=Priority.WARNING,
            subject="An operation waits for a person's word",
            meaning="The policy wants a person's word before this operation. When the time is over, the policy goes on "
            "without it.",
            do="`ringfence approve CASE` or `ringfence reject CASE`, before the deadline.",
        ),
        Topic.APPROVAL_GIVEN: About(
            message_id="eeac5e56fc3b44139f097419a7012488", priority=Priority.NOTICE,
            subject="A person said a word",
            meaning="An operation that waited was granted or denied.",
            do="Nothing.",
        ),
        Topic.INSTRUCTION: About(
            message_id="49c19cd174b74b5c8d53762fdc191520", priority=Priority.NOTICE,
            subject="A person instructed an operation",
            meaning="Somebody had an operation done on a guest, or was refused.",
            do="Nothing, if you know who it was.",
        ),
        Topic.DEADLINE_PASSED: About(
            message_id="d3d3d9c40b97454381b6b74938c666d3", priority=Priority.WARNING,
            subject="A time was over",
            meaning="What was waited for did not come in time; the row without it applies, and that is never undone.",
            do="If it was an approval, nobody looked in time; if it was an answer, Dom0 is slow; if it was an "
            "operation, the toolstack hangs.",
        ),
        Topic.TREND: About(
            message_id="77bf8478077e4e2ea36d3f6d07d59e14", priority=Priority.WARNING,
            subject="Corrected errors passed a threshold",
            meaning="A part shows more corrected errors, or more different ones, than the policy allows: an "
            "uncorrected error may follow.",
            do="Plan the replacement of the part that is named. `ringfence cases` says what was done ahead of it.",
        ),
        Topic.FAULT_ENDED: About(
            message_id="30da2defa8ad4c7da6e43e166f2390fe", priority=Priority.NOTICE,
            subject="A part is at fault no more",
            meaning="It was repaired, replaced or acquitted; what was seen before does not count any more.",
            do="Nothing.",
        ),
        Topic.EVIDENCE_LOST: About(
            message_id="dd25252b69824c539048a28ccf8609b9", priority=Priority.WARNING,
            subject="Evidence was lost",
            meaning="A source dropped evidence before anybody could fetch it. What was urgent may have been an "
            "uncorrected error that nobody has seen.",
            do="If it was urgent, plan a reboot with a memory test; if it was not, the storm is the message.",
        ),
        Topic.UNRECOGNISED: About(
            message_id="f217ab679ea244e287efe593e597753d", priority=Priority.WARNING,
            subject="Evidence cannot be read",
            meaning="Something that looks like evidence is in a form that this version does not know. It is kept.",
            do="`ringfence events` shows it; please report the form.",
        ),
        Topic.DOM0: About(
            message_id="31c2afd5760d45a0a64ecc01971fb561", priority=Priority.WARNING,
            subject="Dom0 changed",
            meaning="Dom0's handler came or went, Dom0 was hit by an error, or a probe showed that it works again. It "
            "is asked about guests only while it is unhurt and has a handler.",
            do="If it is hurt, plan a reboot.",
        ),
        Topic.STARTED: About(
            message_id="6c5b3c8e08bc47e99afc450bff5781a6", priority=Priority.NOTICE,
            subject="Ringfence began a life",
            meaning="The service started, or the host under it was reset.",
            do="If nobody started it, see why it ended before: `journalctl -u ringfence`.",
        ),
        Topic.STOPPED: About(
            message_id="f21dbdbe33354393a8065e7515991d15", priority=Priority.NOTICE,
            subject="Ringfence ended in order",
            meaning="The service was stopped. What the hypervisor does by itself goes on.",
            do="Start it again, if it should run.",
        ),
        Topic.LOADED: About(
            message_id="cba54a03aa2b424894406fde5458b512", priority=Priority.NOTICE,
            subject="Policy or configuration were loaded",
            meaning="Another policy or configuration applies from now on.",
            do="Nothing, if you know who it was.",
        ),
        Topic.HEALTH_PROBLEM: About(
            message_id="202eef09cc70418993fb005c1af13536", priority=Priority.ERROR,
            subject="Something is wrong with the service",
            meaning="The service's health names what is wrong; it goes on as well as it can.",
            do="`ringfence status`; each sentence says what to do.",
        ),
        Topic.HEALTH_WELL: About(
            message_id="b74dd41b3fb448928593f4cac5ad75e5", priority=Priority.NOTICE,
            subject="The service is well again",
            meaning="What was wrong with the service is so no more.",
            do="Nothing.",
        ),
        Topic.GAP: About(
            message_id="7cfde93861194d039465ed8028ef8690", priority=Priority.WARNING,
            subject="Events were not told",
            meaning="The receiver was behind for so long that the journal no longer keeps what it has not heard.",
            do="Ask `ringfence cases --all` for what became of them. See why the receiver was away.",
        ),
        Topic.SALVAGED: About(
            message_id="d2254e83d0dc48a287ef24e0e87b1623", priority=Priority.ERROR,
            subject="The journal was salvaged",
            meaning="The journal was damaged; what could be read was taken over, and the event says what is gone. "
            "Numbers of events that are gone are given to others: ids have another name from here on.",
            do="See why the disk lost data. The damaged file was kept beside the new one.",
        ),
        Topic.TEST: About(
            message_id="8b67ca05d62943948dbe799750b05a3d", priority=Priority.INFO,
            subject="A test",
            meaning="Somebody ran `ringfence webhook test`.",
            do="Nothing.",
        ),
    }
)  # fmt: skip
"""Every topic. A message id is in one place only, and never changes."""
