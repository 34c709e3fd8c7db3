"""Who consumed an error: an ordered table; the first rule that matches decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.diagnosis.containment_facts import ConsumerFacts, Kind, Tie, Who, fits
from ringfence.diagnosis.impact import Certainty, Party
from ringfence.world.situation import Context

_RECOVERY = "SDM vol. 3B 17.6.3"
_RIPV_EIPV = "SDM vol. 3B 17.9.3.2"
_UNCERTAIN = "concept B.1"
_PAST = "concept B.2; SDM vol. 3B 17.10.4.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerRule:
    """Who consumed the error. Fields from ``past`` on are what it asks for, None is "whatever it is"."""

    name: str
    party: Party
    certainty: Certainty
    because: str
    cite: str
    past: bool | None = None
    kind: Kind | None = None
    poisons: bool | None = None
    tie: Tie | None = None
    context: Context | None = None
    ran: Who | None = None
    known_case: bool | None = None

    def matches(self, facts: ConsumerFacts) -> bool:
        """Whether it applies."""
        return (
            fits(self.past, facts.past)
            and fits(self.kind, facts.kind)
            and fits(self.poisons, facts.poisons)
            and fits(self.tie, facts.tie)
            and fits(self.context, facts.context)
            and fits(self.ran, facts.ran)
            and fits(self.known_case, facts.known_case)
        )


CONSUMER: Final[tuple[ConsumerRule, ...]] = (
    ConsumerRule(
        name="consumed-in-the-past",
        party=Party.NOBODY,
        certainty=Certainty.PROVEN,
        because="the error is older than what runs now: whoever consumed it then is not running any more",
        cite=_PAST,
        past=True,
    ),
    ConsumerRule(
        name="nothing-bad-to-consume",
        party=Party.NOBODY,
        certainty=Certainty.PROVEN,
        because="no bad data was given to anybody",
        cite="SDM vol. 3B 17.3.2.2; APM vol. 2 9.3.2",
        kind=Kind.NOTHING_LOST,
    ),
    ConsumerRule(
        name="consumer-unbounded",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="the error is fatal: nothing bounds who took it in",
        cite=f"{_UNCERTAIN}; SDM vol. 3B 17.6.3; APM vol. 2 9.2",
        kind=Kind.FATAL,
    ),
    ConsumerRule(
        name="consumer-unmarked",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="the platform does not mark bad data: anybody may have taken it in, and may yet, without a sign",
        cite="concept B.7; Linux arch/x86/kernel/cpu/mce/severity.c panics without SER_P or SUCCOR",
        poisons=False,
    ),
    ConsumerRule(
        name="found-before-use",
        party=Party.NOBODY,
        certainty=Certainty.PROVEN,
        because="bad data was found before anybody used it: who ran on the CPU that reports it is no evidence",
        cite=f"concept, Words; {_RECOVERY}; APM vol. 2 9.3.2 (Deferred)",
        kind=Kind.UNCONSUMED,
    ),
    ConsumerRule(
        name="consumed-before-the-report",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="bad data was consumed, and nothing says that it was signalled at that moment: who ran when it was "
        "reported need not be the consumer",
        cite=f"{_UNCERTAIN}; SDM vol. 3B 17.6.3",
        tie=Tie.NOT_SIGNALLED,
    ),
    ConsumerRule(
        name="consumed-behind-a-shared-unit",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="nothing shows that the unit that reported is this CPU's alone: a shared cache, a link or a memory "
        "controller reports for every CPU behind it, and what they were running cannot be proven",
        cite=f"{_UNCERTAIN}; SDM vol. 3B 17.3.2 (scope of banks); PPR 57254, MCA Banks",
        tie=Tie.SHARED_UNIT,
    ),
    ConsumerRule(
        name="copy-of-a-known-case",
        party=Party.NOBODY,
        certainty=Certainty.PROVEN,
        because="this CPU only took part in the exception (RIPV=1 EIPV=0), and an open case about the same page has "
        "the consumer",
        cite=f"{_RIPV_EIPV}; SDM vol. 3B 17.10.4.1",
        tie=Tie.ELSEWHERE,
        known_case=True,
    ),
    ConsumerRule(
        name="consumed-on-another-cpu",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="this CPU only took part in the exception (RIPV=1 EIPV=0): another one consumed the data, and no open "
        "case says which",
        cite=f"{_RIPV_EIPV}; SDM vol. 3B 17.10.4.1",
        tie=Tie.ELSEWHERE,
    ),
    ConsumerRule(
        name="consumed-out-of-context",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="RIPV=0 EIPV=0: this CPU cannot go on, and what it had saved is not associated with the error, so who "
        "consumed it may have been another before",
        cite=f"{_RIPV_EIPV}; Linux arch/x86/kernel/cpu/mce/severity.c (neither restart nor error IP)",
        tie=Tie.NEITHER,
    ),
    ConsumerRule(
        name="consumed-context-unsaid",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="the evidence lacks MCG_STATUS as the exception left it: nothing ties the error to what was executing",
        cite=f"{_UNCERTAIN}; SDM vol. 3B 17.3.1.2",
        tie=Tie.NOT_SAID,
    ),
    ConsumerRule(
        name="hypervisor-consumed",
        party=Party.HYPERVISOR,
        certainty=Certainty.PROVEN,
        because="the error is tied to what this CPU was executing, and that was the hypervisor",
        cite=_RIPV_EIPV,
        tie=Tie.THIS,
        context=Context.HYPERVISOR,
    ),
    ConsumerRule(
        name="idle-hypervisor-consumed",
        party=Party.HYPERVISOR,
        certainty=Certainty.PROVEN,
        because="the error is tied to what this CPU was executing: its idle loop, which is the hypervisor's",
        cite=f"{_RIPV_EIPV}; Xen arch/x86/domain.c, idle_loop",
        tie=Tie.THIS,
        context=Context.IDLE,
    ),
    ConsumerRule(
        name="dom0-consumed",
        party=Party.DOM0,
        certainty=Certainty.PROVEN,
        because="the error is tied to what this CPU was executing, and that was Dom0",
        cite=_RIPV_EIPV,
        tie=Tie.THIS,
        context=Context.GUEST,
        ran=Who.DOM0,
    ),
    ConsumerRule(
        name="domu-consumed",
        party=Party.DOMU,
        certainty=Certainty.PROVEN,
        because="the error is tied to what this CPU was executing, and that was one DomU",
        cite=_RIPV_EIPV,
        tie=Tie.THIS,
        context=Context.GUEST,
        ran=Who.DOMU,
    ),
    ConsumerRule(
        name="consuming-domu-is-gone",
        party=Party.DOMU,
        certainty=Certainty.PROVEN,
        because="the error is tied to what this CPU was executing: a DomU that is gone by now, and what it took in "
        "with it",
        cite=_RIPV_EIPV,
        tie=Tie.THIS,
        context=Context.GUEST,
        ran=Who.GONE,
    ),
    ConsumerRule(
        name="consuming-guest-unknown",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="a guest consumed the data, and nobody knows which",
        cite=_UNCERTAIN,
        context=Context.GUEST,
    ),
    ConsumerRule(
        name="consuming-context-unknown",
        party=Party.NOBODY,
        certainty=Certainty.UNCONFINED,
        because="the error is tied to what this CPU was executing, and nobody knows what that was",
        cite=_UNCERTAIN,
    ),
)
"""Who consumed it. Total over ``ConsumerFacts``; what no other rule knows is unconfined."""
