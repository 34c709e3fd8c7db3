"""What the tables of the configuration have in common."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec


class Applies(StrEnum):
    """When a key that was changed in the file holds, after ``ringfence config reload`` or SIGHUP."""

    AT_ONCE = "at once"
    AT_RESTART = "at restart"


AT_ONCE: Final[dict[str, object]] = {"applies": Applies.AT_ONCE}
"""``Meta(extra=AT_ONCE)``: whoever goes by the key asks for its value each time. A key that is not marked holds at the
next start, and whoever reloads is told so."""

SECRET: Final[dict[str, object]] = {"secret": True}
"""``Meta(extra=SECRET)``: the value is shown nowhere and not journaled. A file's name is no secret; prefer one."""

FileName = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
"""Of a file; Linux takes 4096 bytes (PATH_MAX)."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """One table of the file. A key is its field's name with hyphens; its meaning and its bounds stand in ``Meta``.

    A key that the file leaves out has its default, and every default is safe without reading a manual. What bounds
    cannot say is checked in ``__post_init__``, which raises ValueError with a sentence.
    """
