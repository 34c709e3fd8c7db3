"""What an operator does about a finding: an ordered table; the first row that fits gives the sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.severity import Severity
from ringfence.record.evidence import Claim, ClaimKind, Delivery

LEADS: dict[Severity, str] = {
    Severity.NONE: "No hardware error",
    Severity.CORRECTED: "Corrected error",
    Severity.DEFERRED: "Uncorrected error, not consumed (DEFERRED)",
    Severity.UCNA: "Uncorrected error, not consumed (UCNA)",
    Severity.SRAO: "Uncorrected error, action optional (SRAO)",
    Severity.SRAR: "Uncorrected error, action required (SRAR)",
    Severity.FATAL: "Fatal error",
}
"""How bad it is, in the words that begin a summary."""


class Consumer(StrEnum):
    """Who took the bad data in, as far as it matters for what to do."""

    KERNEL = "the kernel"
    LOST = "a context that cannot be resumed"
    UNKNOWN = "unknown"


class PageState(StrEnum):
    """What the kernel says that it did with the page (Linux mm/memory-failure.c)."""

    OUT_OF_USE = "out of use"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the advice depends on."""

    severity: Severity
    unit: UnitKind = UnitKind.OTHER
    names_a_page: bool = False
    delivery: Delivery = Delivery.UNKNOWN
    consumer: Consumer = Consumer.UNKNOWN
    past_threshold: bool = False
    names_no_error: bool = False
    page: PageState = PageState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Row:
    """A sentence and what it holds for; None is "whatever it is"."""

    sentence: str
    severities: frozenset[Severity] | None = None
    unit: UnitKind | None = None
    names_a_page: bool | None = None
    polled: bool | None = None
    consumer: Consumer | None = None
    past_threshold: bool | None = None
    names_no_error: bool | None = None
    page: PageState | None = None

    def fits(self, seen: Situation) -> bool:
        """Whether the sentence holds for this situation."""
        wanted = (
            (self.unit, seen.unit),
            (self.names_a_page, seen.names_a_page),
            (self.polled, seen.delivery is Delivery.POLLED),
            (self.consumer, seen.consumer),
            (self.past_threshold, seen.past_threshold),
            (self.names_no_error, seen.names_no_error),
            (self.page, seen.page),
        )
        if self.severities is not None and seen.severity not in self.severities:
            return False
        return all(want is None or want == is_ for want, is_ in wanted)


_CORRECTED = frozenset({Severity.CORRECTED})
_NOT_CONSUMED = frozenset({Severity.DEFERRED, Severity.UCNA})
_SRAO = frozenset({Severity.SRAO})
_LATENT = _NOT_CONSUMED | _SRAO
_SRAR = frozenset({Severity.SRAR})
_FATAL = frozenset({Severity.FATAL})
_PAST = (
    "It was found by polling, after the fact (often at the start after the reset that it caused): whoever was hit then "
    "cannot be helped now. Keep this evidence, and test or replace the unit named if it comes again."
)
_OUT_OF_USE = "The kernel has taken the page out of use already"
_NOT_DONE = (
    "The kernel tried to take the page out of use and did not finish it (Ignored, Failed or Delayed): do it, or "
    "restart the host. "
)
_RESTART_HOST = "The kernel was the consumer: restart the host, unless it says that it recovered"

TABLE: tuple[Row, ...] = (
    Row(
        "Nothing is broken. If it comes again or does not end, look after the cooling: fans, heat sink, air flow, the "
        "temperature of the room.",
        frozenset({Severity.NONE}),
        UnitKind.THERMAL,
    ),
    Row("Nothing: this is not a hardware error.", frozenset({Severity.NONE})),
    Row(
        "That guest has lost the page; nothing here is of the host. Restart what used it in the guest, and look for "
        'the host\'s own "Memory failure:" line, which names its page.',
        unit=UnitKind.GUEST_MEMORY,
    ),
    Row(
        "Check whether it was injected (mce-inject, QEMU): hardware is not known to log an error with the code 0. If "
        "not, keep the evidence; registers may be missing.",
        names_no_error=True,
    ),
    Row(
        "It has repeated past its threshold: plan the replacement of the DIMM now, and offline the page if one is "
        "named.",
        _CORRECTED,
        UnitKind.MEMORY,
        past_threshold=True,
    ),
    Row(
        "It has repeated past its threshold: plan the replacement of the processor now, and offline the core until "
        "then.",
        _CORRECTED,
        UnitKind.CORE,
        past_threshold=True,
    ),
    Row("It has repeated past its threshold: plan the replacement now.", _CORRECTED, past_threshold=True),
    Row(
        "Count it. Act when it repeats: many from one page, offline the page; distinct ones from one rank or DIMM, "
        "replace it before it turns uncorrected.",
        _CORRECTED,
        UnitKind.MEMORY,
    ),
    Row(
        "Count it for each core. Act when it repeats: undo overclocking, check clock and voltage settings, offline the "
        "core, replace the processor.",
        _CORRECTED,
        UnitKind.CORE,
    ),
    Row(
        "Count it for each link. Act when it repeats: check the link (cable, slot, firmware), then replace what is at "
        "its ends.",
        _CORRECTED,
        UnitKind.LINK,
    ),
    Row("Count it. Act when it repeats: replace the unit named before it turns uncorrected.", _CORRECTED),
    Row(
        f"{_PAST} Memory does not heal by a reset: keep the page out of use until it is tested.",
        _SRAR | _FATAL,
        names_a_page=True,
        polled=True,
    ),
    Row(_PAST, _SRAR | _FATAL, polled=True),
    Row(
        f"{_OUT_OF_USE}, but its own access was the consumer: restart whom it worked for from good data, and the host "
        "if it did not recover.",
        _SRAR,
        consumer=Consumer.KERNEL,
        page=PageState.OUT_OF_USE,
    ),
    Row(
        f"{_OUT_OF_USE}: restart the victim from good data, and replace the DIMM if more pages follow.",
        _SRAR,
        page=PageState.OUT_OF_USE,
    ),
    Row(
        f"{_OUT_OF_USE}: whoever owned it lost what it held; replace the DIMM if more pages follow.",
        _LATENT,
        page=PageState.OUT_OF_USE,
    ),
    Row(f"{_RESTART_HOST}, and keep the page out of use.", _SRAR, names_a_page=True, consumer=Consumer.KERNEL),
    Row(f"{_RESTART_HOST}; save the evidence first.", _SRAR, consumer=Consumer.KERNEL),
    Row(
        "What consumed the data cannot be resumed: stop the victim, take the page out of use, and start the victim "
        "anew from good data.",
        _SRAR,
        names_a_page=True,
        consumer=Consumer.LOST,
    ),
    Row(
        "What consumed the data cannot be resumed, and the page cannot be named: stop the victim, save the evidence "
        "and drain and restart the host.",
        _SRAR,
        consumer=Consumer.LOST,
    ),
    Row(
        "Stop whoever consumed the data, take the page out of use, and restart the victim from good data.",
        _SRAR,
        names_a_page=True,
    ),
    Row("What was consumed cannot be bounded to a page: save the evidence and halt or restart the host.", _SRAR),
    Row("Take the page out of use (hard offline) now; whoever owns it loses what it held.", _SRAO, names_a_page=True),
    Row(
        "Take the page out of use (hard offline) before somebody reads it; find out whose page it is.",
        _NOT_CONSUMED,
        names_a_page=True,
    ),
    Row("The page cannot be named: start nothing new on this host and drain it; a consumed error may follow.", _LATENT),
    Row(
        "The state of the machine was not to be trusted from here on: keep this evidence, replace or test the unit "
        "named, and return the host to service only after that.",
        _FATAL,
    ),
)
"""Most particular first; total, as the severity alone decides in the last row of each."""


@lru_cache(maxsize=4096)
def advice(seen: Situation) -> str:
    """What to do in this situation."""
    sentence = next(row.sentence for row in TABLE if row.fits(seen))
    unfinished = seen.page is PageState.NOT_DONE and seen.unit is not UnitKind.GUEST_MEMORY
    return _NOT_DONE + sentence if unfinished and seen.severity in _LATENT | _SRAR else sentence


_DONE = (": Recovered", "already hardware poisoned")
_UNFINISHED = (": Ignored", ": Failed", ": Delayed")


def page_state(claims: Iterable[Claim]) -> PageState:
    """What the kernel's memory-failure lines say became of the page; what it says last counts."""
    found = PageState.UNKNOWN
    for claim in claims:
        if claim.kind is not ClaimKind.MEMORY_FAILURE:
            continue
        if any(word in claim.text for word in _DONE):
            found = PageState.OUT_OF_USE
        elif any(word in claim.text for word in _UNFINISHED):
            found = PageState.NOT_DONE
    return found
