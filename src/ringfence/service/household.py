"""Which attendants a configuration asks for: the one list of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ringfence.hypervisor.mca_abi import VIRQ_MCA
from ringfence.hypervisor.xen.event_channel import is_taken
from ringfence.service.attendants import Attendant
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.configuration.sources import Sources
from ringfence.service.intake import Followed, Intake
from ringfence.service.intake_plan import followed
from ringfence.service.modules import ModuleWatch
from ringfence.service.others import facts
from ringfence.service.outlets.system_journal import SystemJournalOutlet
from ringfence.service.outlets.textfile import TextfileOutlet
from ringfence.service.outlets.webhook import WebhookOutlet
from ringfence.service.sources.mcelog_device import McelogSource
from ringfence.service.upkeep import Upkeep
from ringfence.service.xen_facts import VIRQ_IS_TAKEN


def attendants(
    configuration: Configuration, hypervisor: str = "", more: Sequence[Followed] = ()
) -> tuple[Attendant, ...]:
    """The attendants, in the order in which they are started. One that needs a library imports it only here.

    ``more`` is what the backend has to be followed, beside what the configuration names.

    Raises MissingExtraError if a library is not installed that the configuration asks for.
    """
    found: list[Attendant] = [Upkeep()]
    if configuration.sources.host:
        found.append(ModuleWatch())  # what else is followed may be of another machine
    wanted, beside = configuration.sources, _beside(hypervisor)
    if wanted.any or beside or more:
        found.append(_intake(wanted, beside, more))
    if configuration.http.enabled:
        from ringfence.service.http.server import HttpServer  # noqa: PLC0415 (a library of the extra web)

        found.append(HttpServer())
    if configuration.system_journal.enabled:
        found.append(SystemJournalOutlet(configuration.system_journal))
    found += [WebhookOutlet(each) for each in configuration.webhook]
    if configuration.textfile.path is not None:
        found.append(TextfileOutlet(Path(configuration.textfile.path), configuration.textfile.interval_s))
    return tuple(found)


def _intake(wanted: Sources, beside: tuple[Followed, ...], more: Sequence[Followed]) -> Intake:
    named = (*followed(wanted), *more)
    known = {each.source.name for each in named}
    all_ = (*(each for each in beside if each.source.name not in known), *named)
    if beside:
        return Intake(all_, lambda: (*(facts(wanted) if wanted.host else ()), VIRQ_IS_TAKEN))
    # What is to be known of this host matters where its own evidence is followed.
    return Intake(all_, partial(facts, wanted)) if wanted.host else Intake(all_)


def _beside(hypervisor: str) -> tuple[Followed, ...]:
    """What is followed in the place of Xen's own telemetry, where Dom0's kernel takes that for itself."""
    if hypervisor == "xen" and is_taken(VIRQ_MCA):
        return (Followed(McelogSource(), expected=True),)
    return ()
