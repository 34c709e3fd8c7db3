"""Which attendants a configuration asks for: the one list of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ringfence.service.attendants import Attendant
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.configuration.sources import Sources
from ringfence.service.intake import Intake
from ringfence.service.intake_plan import followed
from ringfence.service.modules import ModuleWatch
from ringfence.service.others import facts
from ringfence.service.outlets.system_journal import SystemJournalOutlet
from ringfence.service.outlets.textfile import TextfileOutlet
from ringfence.service.outlets.webhook import WebhookOutlet
from ringfence.service.upkeep import Upkeep


def attendants(configuration: Configuration) -> tuple[Attendant, ...]:
    """The attendants, in the order in which they are started. One that needs a library imports it only here.

    Raises MissingExtraError if a library is not installed that the configuration asks for.
    """
    found: list[Attendant] = [Upkeep()]
    if configuration.sources.host:
        found.append(ModuleWatch())  # what else is followed may be of another machine
    if configuration.sources.any:
        found.append(_intake(configuration.sources))
    if configuration.http.enabled:
        from ringfence.service.http.server import HttpServer  # noqa: PLC0415 (a library of the extra web)

        found.append(HttpServer())
    if configuration.system_journal.enabled:
        found.append(SystemJournalOutlet(configuration.system_journal))
    found += [WebhookOutlet(each) for each in configuration.webhook]
    if configuration.textfile.path is not None:
        found.append(TextfileOutlet(Path(configuration.textfile.path), configuration.textfile.interval_s))
    return tuple(found)


def _intake(wanted: Sources) -> Intake:
    # What is to be known of this host matters where its own evidence is followed.
    return Intake(followed(wanted), partial(facts, wanted)) if wanted.host else Intake(followed(wanted))
