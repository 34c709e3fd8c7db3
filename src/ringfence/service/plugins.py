"""Plug-ins: rules that a policy file cannot say, in Python, found by entry point (group ``ringfence.policy``).

A plug-in runs here, before the decision; its verdict comes into the decision with the situation, and into the journal.
One that raises, is late, or says what is no answer falls to the policy's own answer, and that is journaled too. A
plug-in that is late is left to itself: it can hold up nothing but its own thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, Protocol

from ringfence.decision.policy import Answer
from ringfence.diagnosis.severity import Severity
from ringfence.world.domain import Domain
from ringfence.world.situation import PluginVerdict, Situation

GROUP: Final = "ringfence.policy"
"""The entry point group."""

LATE_S: Final = 0.25
"""How long a plug-in may take: an eighth of the time that Dom0 has to answer by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a plug-in is asked: what shall Dom0 answer for this domain, which an error of this class has hit?"""

    domain: Domain
    severity: Severity
    lost_pages: int
    situation: Situation


class Plugin(Protocol):
    """A rule in Python. Runs in a thread of its own; must not change anything."""

    def __call__(self, asked: Asked, /) -> tuple[Answer, str] | None:
        """An answer with the reason for it in a sentence, or None for no opinion."""
        ...


def installed() -> dict[str, Plugin]:
    """The plug-ins that are installed, by name. One that cannot be loaded is kept as one that fails when asked."""
    found: dict[str, Plugin] = {}
    for point in entry_points(group=GROUP):
        try:
            found[point.name] = point.load()
        except Exception as error:
            found[point.name] = _Broken(repr(error))
    return found


@dataclass(frozen=True, slots=True)
class _Broken:
    why: str

    def __call__(self, _asked: Asked, /) -> tuple[Answer, str] | None:
        raise RuntimeError(f"it could not be loaded: {self.why}")


def verdicts(plugins: Mapping[str, Plugin], asked: Asked, late_s: float = LATE_S) -> tuple[PluginVerdict, ...]:
    """What each plug-in says, in the order of their names; one without an opinion is left out."""
    said = (_ask(name, plugins[name], asked, late_s) for name in sorted(plugins))
    return tuple(verdict for verdict in said if verdict is not None)


def _ask(name: str, plugin: Plugin, asked: Asked, late_s: float) -> PluginVerdict | None:
    box: queue.SimpleQueue[PluginVerdict | None] = queue.SimpleQueue()
    number = asked.domain.id

    def run() -> None:
        try:
            opinion = plugin(asked)
            if opinion is None:
                box.put(None)
                return
            answer, because = opinion
            box.put(PluginVerdict(name, Answer(answer), str(because), number))
        except Exception as error:
            box.put(PluginVerdict(name, "", f"it failed: {error!r}", number))

    threading.Thread(target=run, name=f"plug-in {name}", daemon=True).start()
    try:
        return box.get(timeout=late_s)
    except queue.Empty:
        return PluginVerdict(name, "", f"it was late: no verdict within {late_s} s", number)
