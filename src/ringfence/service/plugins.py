"""Plug-ins: rules that a policy file cannot say, in Python, found by entry point (group ``ringfence.policy``).

A plug-in runs here, before the decision; its verdict comes into the decision with the situation, and into the journal.
One that raises, is late, or says what is no answer falls to the policy's own answer, and that is journaled too. A
plug-in that is late is left to itself: it can hold up nothing but its own thread.
"""

from __future__ import annotations

import queue
import threading
import time
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
"""How long plug-ins may take, all together: an eighth of the time that Dom0 has to answer by default."""


ENDING_S: Final = 0.01
"""How long the thread of a plug-in that has answered may need to end."""

MOST_SAID: Final = 500
"""Characters of a plug-in's reason, or of what it raised, that are kept: a sentence, and each error has one."""


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
        except (Exception, SystemExit) as error:
            found[point.name] = _Broken(repr(error))
    return found


@dataclass(frozen=True, slots=True)
class _Broken:
    why: str

    def __call__(self, _asked: Asked, /) -> tuple[Answer, str] | None:
        raise RuntimeError(f"it could not be loaded: {self.why}")


def verdicts(plugins: Mapping[str, Plugin], asked: Asked, late_s: float = LATE_S) -> tuple[PluginVerdict, ...]:
    """What each plug-in says, in the order of their names; one without an opinion is left out."""
    until = time.monotonic() + late_s
    # All at once: ten that are late may not use up the time that Dom0 has to answer.
    boxes = [(name, _begin(name, plugins[name], asked)) for name in sorted(plugins)]
    said = (_end(name, box, asked, late_s, until) for name, box in boxes)
    return tuple(verdict for verdict in said if verdict is not None)


_Box = queue.SimpleQueue[PluginVerdict | None]


def _begin(name: str, plugin: Plugin, asked: Asked) -> _Box | None:
    """Ask a plug-in; None if it has not come back from an earlier question: its threads may not pile up."""
    for earlier in [thread for thread in threading.enumerate() if thread.name == _thread(name)]:
        earlier.join(ENDING_S)
        if earlier.is_alive():
            return None
    box: _Box = queue.SimpleQueue()
    number = asked.domain.id

    def run() -> None:
        try:
            opinion = plugin(asked)
            if opinion is None:
                box.put(None)
                return
            answer, because = opinion
            box.put(PluginVerdict(name, Answer(answer), _kept(str(because)), number))
        except BaseException as error:
            # Its thread ends here, whatever it raised: sys.exit() as well.
            box.put(PluginVerdict(name, "", _kept(f"it failed: {type(error).__name__}: {_told(error)}"), number))

    threading.Thread(target=run, name=_thread(name), daemon=True).start()
    return box


def _told(error: BaseException) -> str:
    """What an exception says of itself; its own words may fail as well."""
    try:
        return repr(error)
    except Exception:
        return "it cannot say what"


def _kept(text: str) -> str:
    """What is kept of a plug-in's words: some, and such as can be written down."""
    short = text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}..."
    return short.encode("utf-8", "backslashreplace").decode()


def _thread(name: str) -> str:
    return f"plug-in {name}"


def _end(name: str, box: _Box | None, asked: Asked, late_s: float, until: float) -> PluginVerdict | None:
    number = asked.domain.id
    if box is None:
        return PluginVerdict(name, "", "it has not come back from an earlier question: not asked", number)
    try:
        return box.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty:
        return PluginVerdict(name, "", f"it was late: no verdict within {late_s} s", number)
