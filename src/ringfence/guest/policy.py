"""What a guest's administrator lets the agent do: a small TOML file, in which every key has a default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from ringfence.guest.protocol import What

DEFAULT_FILE: Final = Path("/etc/ringfence/guest.toml")
DEFAULT_HOOKS: Final = Path("/etc/ringfence/guest.d")
MOST_HOOK_S: Final = 300
MOST_BYTES: Final = 65_536

_Word = TypeVar("_Word", bound=StrEnum)


class PageAction(StrEnum):
    """What is done to a page."""

    SOFT_OFFLINE = "soft-offline"
    """Its content is copied to another page, and nobody notices. It reads the page: for one that is still good."""
    HARD_OFFLINE = "hard-offline"
    """It is given up at once; whoever has it loses what was in it, and is killed by the kernel if that matters."""
    NOTHING = "nothing"


class OwnerAction(StrEnum):
    """What is done to the processes that mapped a lost page, beyond what the kernel does to them."""

    LEAVE = "leave"
    KILL = "kill"
    RESTART_UNIT = "restart-unit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the agent does.

    ``units`` are the systemd services that may be restarted, by name; ``hook_s`` is what one hook script may take.
    """

    pages: Mapping[What, PageAction] = field(
        default_factory=lambda: {What.LOST: PageAction.HARD_OFFLINE, What.ENDANGERED: PageAction.SOFT_OFFLINE}
    )
    owner: OwnerAction = OwnerAction.LEAVE
    units: frozenset[str] = frozenset()
    hooks: Path = DEFAULT_HOOKS
    hook_s: int = 10


class PolicyError(ValueError):
    """The file is not one: the message has the file, the key, and what is allowed."""


def read(path: Path) -> Policy:
    """The policy of a file. Raises PolicyError, with every key that it does not know among the reasons."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise PolicyError(f"{path}: it has more than {MOST_BYTES} bytes")
    try:
        given = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{path}: it is not TOML: {error}") from error
    try:
        return _policy(given)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


_TABLES: Final = {"lost": ("do", "owner", "units"), "endangered": ("do",), "hooks": ("directory", "seconds")}


def _policy(given: Mapping[str, Any]) -> Policy:
    for name, table in given.items():
        if name not in _TABLES:
            raise PolicyError(f"{name}: there is no such table; allowed: {', '.join(_TABLES)}")
        if not isinstance(table, dict):
            raise PolicyError(f"{name}: a table is expected")
        for key in table:
            if key not in _TABLES[name]:
                raise PolicyError(f"{name}.{key}: there is no such key; allowed: {', '.join(_TABLES[name])}")
    lost, endangered, hooks = (given.get(name, {}) for name in ("lost", "endangered", "hooks"))
    default = Policy()
    units = lost.get("units", [])
    if not isinstance(units, list) or not all(isinstance(each, str) and each.endswith(".service") for each in units):
        raise PolicyError('lost.units: a list of names like "postgresql.service" is expected')
    seconds = hooks.get("seconds", default.hook_s)
    if type(seconds) is not int or not 1 <= seconds <= MOST_HOOK_S:
        raise PolicyError(f"hooks.seconds: a number from 1 to {MOST_HOOK_S} is expected")
    directory = hooks.get("directory", str(default.hooks))
    if not isinstance(directory, str) or not directory.startswith("/"):
        raise PolicyError("hooks.directory: an absolute path is expected")
    return Policy(
        pages={
            What.LOST: _word(FOR_LOST, "lost.do", lost.get("do", PageAction.HARD_OFFLINE)),
            What.ENDANGERED: _word(tuple(PageAction), "endangered.do", endangered.get("do", PageAction.SOFT_OFFLINE)),
        },
        owner=_word(tuple(OwnerAction), "lost.owner", lost.get("owner", default.owner)),
        units=frozenset(units),
        hooks=Path(directory),
        hook_s=seconds,
    )


FOR_LOST: Final = (PageAction.HARD_OFFLINE, PageAction.NOTHING)
"""Soft offlining reads the page, and a lost one must not be read."""


def _word(words: tuple[_Word, ...], key: str, given: Any) -> _Word:
    for each in words:
        if each == given:
            return each
    raise PolicyError(f"{key}: {given!r}; allowed: {', '.join(words)}")
