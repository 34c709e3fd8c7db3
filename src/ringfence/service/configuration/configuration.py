"""The whole configuration as one value."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.http import Http
from ringfence.service.configuration.journal import JournalSection
from ringfence.service.configuration.kvm import Kvm
from ringfence.service.configuration.outlets import MOST_WEBHOOKS, SystemJournal, Textfile, Webhook
from ringfence.service.configuration.rights import Rights
from ringfence.service.configuration.section import AT_ONCE, FileName, Section
from ringfence.service.configuration.sources import Sources
from ringfence.service.configuration.xen import Xen


class Configuration(Section, frozen=True, kw_only=True):
    """What ``ringfence run`` goes by. The policy is a file of its own, or stands in tables of its own (``file``)."""

    policy: Annotated[
        FileName | None,
        Meta(
            description="The policy's file, seen from the directory of this one, or the tables of a policy; without "
            "either, the default policy.",
            extra=AT_ONCE,
        ),
    ] = None
    rights: Rights = Rights()
    sources: Sources = Sources()
    kvm: Kvm = Kvm()
    xen: Xen = Xen()
    journal: JournalSection = JournalSection()
    http: Http = Http()
    webhook: Annotated[tuple[Webhook, ...], Meta(max_length=MOST_WEBHOOKS)] = ()
    system_journal: SystemJournal = SystemJournal()
    textfile: Textfile = Textfile()

    def __post_init__(self) -> None:
        """Raises ValueError if two webhooks have one name."""
        names = [each.name for each in self.webhook]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"webhook: there are several of the name {', '.join(sorted(twice))}")


DEFAULT = Configuration()
