"""What the tables of the configuration have in common."""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """One table of the file. A key is its field's name with hyphens; its meaning and its bounds stand in ``Meta``.

    A key that the file leaves out has its default, and every default is safe without reading a manual.
    """
