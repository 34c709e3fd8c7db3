"""``[rights]``: who may do what over the control socket."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.section import AT_ONCE, Section

Name = Annotated[str, Meta(min_length=1, max_length=256)]
"""Of a user or a group; useradd(8) allows 32 characters, a directory's names can be longer."""

Names = tuple[Name, ...]


class Grant(Section, frozen=True, kw_only=True):
    """Whom a right is given to. A name that this machine does not know gives nobody anything, and is said so.

    A process has the groups that the kernel gives it (credentials(7)): who was put into a group logs in anew first.
    """

    groups: Annotated[Names, Meta(max_length=64, description="The members of these groups.", extra=AT_ONCE)] = ()
    users: Annotated[Names, Meta(max_length=64, description="These users.", extra=AT_ONCE)] = ()


class Rights(Section, frozen=True, kw_only=True):
    """Who may do what over the control socket. Root and the service's own user may do everything, whatever stands here.
    Each right holds those before it.
    """

    read: Annotated[Grant, Meta(description="Who may look at everything, and change nothing.")] = Grant()
    approve: Annotated[Grant, Meta(description="Who may grant or deny what waits for a person's word.")] = Grant()
    operate: Annotated[Grant, Meta(description="Who may instruct operations on domains, pages and CPUs.")] = Grant()
    administer: Annotated[
        Grant,
        Meta(description="Who may load the configuration again, and say that a part was repaired, replaced, or not at "
        "fault."),
    ] = Grant()  # fmt: skip
