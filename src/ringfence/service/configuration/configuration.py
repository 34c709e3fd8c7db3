"""The whole configuration as one value."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.http import Http
from ringfence.service.configuration.journal import JournalSection
from ringfence.service.configuration.outlets import SystemJournal, Webhook
from ringfence.service.configuration.rights import Rights
from ringfence.service.configuration.section import Section
from ringfence.service.configuration.sources import Sources


class Configuration(Section, frozen=True, kw_only=True):
    """What ``ringfence run`` goes by, but for the policy, which is a file of its own."""

    policy: Annotated[str | None, Meta(description="The policy's file; without it, the default policy.")] = None
    rights: Rights = Rights()
    sources: Sources = Sources()
    journal: JournalSection = JournalSection()
    http: Http = Http()
    webhook: tuple[Webhook, ...] = ()
    system_journal: SystemJournal = SystemJournal()


DEFAULT = Configuration()
