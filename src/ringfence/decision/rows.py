"""The rows of the concept: the names that reasons, journals, tests and docs use.

Source: the RFC "MCA/MCE concept" (C. Egger, xen-devel, May 2007) for the rows I and II, J. Beulich's reply of 30 May
2007 and the messages msg01048 and msg01049 of the thread for the rows B.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Row(StrEnum):
    """A row of the concept."""

    CLASSIFY = "I.1"
    COUNT = "I.2a"
    SELF_HEAL = "I.2b"
    NOBODY = "I.2n"
    UNLOCATED = "I.2u"
    HALT = "I.2x"
    ASK_DOM0 = "I.2c-dom0"
    ALONE = "I.2c-alone"
    MANY = "I.2c-many"
    PV_HANDLER = "I.3a-handler"
    PV_DOM0 = "I.3a-dom0"
    PV_KILL = "I.3a-kill"
    INFORM = "I.3a-inform"
    HVM_HANDLER = "I.3b-pv"
    HVM_INJECT = "I.3b-inject"
    HVM_DOM0 = "I.3b-dom0"
    HVM_KILL = "I.3b-kill"
    AHEAD = "II.1"
    ON_DOMAIN = "II.2"
    ON_MACHINE = "II.3"
    CHECKED = "II.4"
    IMPACT = "B.1"
    LAST_WORDS = "B.2"
    DOM0_IF_ABLE = "B.3"
    PV_MEANS_HANDLER = "B.4"
    INJECTION = "B.5"
    FEASIBILITY = "B.6"
    POISONING = "B.7"
    DISTINCT_SYNDROMES = "B.8"


@dataclass(frozen=True, slots=True)
class Meaning:
    """When a row applies, and what happens then."""

    condition: str
    happens: str


MEANINGS: dict[Row, Meaning] = {
    Row.CLASSIFY: Meaning("always", "corrected or uncorrected, and the finer class, is decided from the banks"),
    Row.COUNT: Meaning("corrected error", "Dom0 is notified if it has a handler; else the error is counted and logged"),
    Row.SELF_HEAL: Meaning(
        "uncorrected; consumer or loser is the hypervisor or Dom0",
        "the host heals itself and tells Dom0 if that has a handler; if it cannot, it panics",
    ),
    Row.NOBODY: Meaning("uncorrected; nobody loses", "the page is taken out of use; Dom0 is told if it has a handler"),
    Row.UNLOCATED: Meaning(
        "uncorrected, not consumed, and its page cannot be named",
        "nothing is stopped; the host is degraded: no new guests, drained or halted as the policy says",
    ),
    Row.HALT: Meaning("FATAL or UNCONFINED", "last words, then halt"),
    Row.ASK_DOM0: Meaning(
        "a DomU is hit and Dom0 has a handler", "Dom0 is asked: notify the DomU, operate on it, or both"
    ),
    Row.ALONE: Meaning("a DomU is hit and Dom0 has no handler", "the hypervisor notifies the DomU itself"),
    Row.MANY: Meaning("several DomUs lose", "each by its own row; one outcome with an entry per loser"),
    Row.PV_HANDLER: Meaning("PV DomU with a handler", "it is told in its own frame numbers, and heals itself"),
    Row.PV_DOM0: Meaning("PV DomU without a handler", "Dom0 is notified to operate on it"),
    Row.PV_KILL: Meaning("PV DomU, neither of them", "it is killed"),
    Row.INFORM: Meaning("a guest that need not act", "it is told for purely notification purposes"),
    Row.HVM_HANDLER: Meaning("HVM DomU with a PV MCA handler", "as I.3a-handler"),
    Row.HVM_INJECT: Meaning("HVM DomU that enabled MCA", "a vMCE is injected"),
    Row.HVM_DOM0: Meaning("HVM DomU without a handler, MCA not enabled", "Dom0 is notified to operate on it"),
    Row.HVM_KILL: Meaning("HVM DomU, none of these, no Dom0 handler", "it is killed"),
    Row.AHEAD: Meaning("corrected errors make an uncorrected one likely", "Dom0 acts ahead of it"),
    Row.ON_DOMAIN: Meaning("Dom0 instructs", "pause, save, restore, migrate, shut down, destroy or notify a DomU"),
    Row.ON_MACHINE: Meaning("Dom0 instructs", "page offline, online or exchange, CPU offline, drain, halt"),
    Row.CHECKED: Meaning(
        "every instruction", "right caller, the domain exists, its state allows it, and the result is reported back"
    ),
    Row.IMPACT: Meaning("uncorrected", "the impact is proven by named evidence; what cannot be bounded halts"),
    Row.LAST_WORDS: Meaning(
        "before a halt", "the smallest useful record first, to each sink that works; after the reboot it is history"
    ),
    Row.DOM0_IF_ABLE: Meaning(
        "Dom0 is to be involved", "only if it is unhurt and has a handler, and only for a bounded time"
    ),
    Row.PV_MEANS_HANDLER: Meaning("PV drivers", "a registered PV MCA handler, nothing else"),
    Row.INJECTION: Meaning(
        "vMCE", "a policy switch; one guest-physical page each, no host fact, bounded, each waits for MCIP to clear"
    ),
    Row.FEASIBILITY: Meaning("an operation on a DomU", "the least expected loss wins, the next is the fallback"),
    Row.POISONING: Meaning("no platform data poisoning", "every uncorrected error is terminal"),
    Row.DISTINCT_SYNDROMES: Meaning(
        "corrected errors of one rank", "distinct syndromes are counted apart from raw counts, and predict"
    ),
}
"""What each row says, in our words."""


class Because(msgspec.Struct, frozen=True):
    """Why something is done: the row of the concept, a sentence, and what it rests on (a rule's name or a source)."""

    row: Row
    because: str
    rests_on: str = ""
