"""``[xen]``: the host that guests of a Xen can be moved to."""

from __future__ import annotations

import shlex
from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.section import Section

Word = Annotated[str, Meta(max_length=4096)]


class Xen(Section, frozen=True, kw_only=True):
    """With the hypervisor Xen: where guests can be moved to by ``xl migrate``."""

    destination: Annotated[
        Word,
        Meta(
            description="The host that guests are moved to, by the name that the shell knows it by; empty: there is "
            "none. Both hosts must reach the guests' disks under the same names."
        ),
    ] = ""
    shell: Annotated[
        Word,
        Meta(
            description="The command that runs `xl` there, as `xl migrate -s` takes it. It must ask for no password; "
            "the host is asked for its free memory by the same way once a minute."
        ),
    ] = "ssh -o BatchMode=yes"
    migration_mib_per_s: Annotated[
        int, Meta(ge=1, le=1 << 20, description="What the link to it carries, MiB/s: feasibility is reckoned with it.")
    ] = 100

    configurations: Annotated[
        Word,
        Meta(
            description="Where the guests' configurations lie, NAME.cfg: a guest is restarted from its own, for `xl` "
            "keeps nothing that a domain could be created from."
        ),
    ] = "/etc/xen"

    def __post_init__(self) -> None:
        """Raises ValueError for a host that would be an option, and for a shell that is no command."""
        if self.destination.startswith("-") or any(each.isspace() for each in self.destination):
            raise ValueError(f"destination = {self.destination!r} is no host's name")
        if self.destination and not _words(self.shell):
            raise ValueError(f"shell = {self.shell!r} is no command")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []
