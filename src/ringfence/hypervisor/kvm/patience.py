"""Calls that may never return (libvirt's, while libvirtd hangs): each in its own thread, waited for with a bound."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from ringfence.errors import HypervisorError

MOST: Final = 4
"""Calls that are out at a time: where so many have not come back, the next one is not made."""
ADVICE: Final = "See whether libvirtd (or virtqemud) hangs, and restart it: its guests run on."

_Found = TypeVar("_Found")


@dataclass(slots=True)
class _Call(Generic[_Found]):
    done: threading.Event = field(default_factory=threading.Event)
    found: list[_Found] = field(default_factory=list)
    error: list[Exception] = field(default_factory=list)


@dataclass(slots=True)
class Patience:
    """Who makes such calls. ``most`` may be out at a time; ``what`` is what is called, for the error's text."""

    what: str
    most: int = MOST
    _out: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, work: Callable[[], _Found], wait_s: float) -> _Found:
        """What ``work`` returns or raises. Raises HypervisorError if it has not come back within ``wait_s`` (what it
        does later is lost), or if too many have not.
        """
        with self._lock:
            if self._out >= self.most:
                raise HypervisorError(f"{self.what} has not answered {self._out} calls", advice=ADVICE)
            self._out += 1
        call = _Call[_Found]()
        threading.Thread(target=self._do, args=(work, call), name=self.what, daemon=True).start()
        if not call.done.wait(wait_s):
            raise HypervisorError(f"{self.what} has not answered within {wait_s:g} s", advice=ADVICE)
        if call.error:
            raise call.error[0]
        return call.found[0]

    def _do(self, work: Callable[[], _Found], call: _Call[_Found]) -> None:
        try:
            call.found.append(work())
        except Exception as error:
            call.error.append(error)
        finally:
            with self._lock:
                self._out -= 1
            call.done.set()
