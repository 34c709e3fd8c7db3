"""Domains' operations by Xen's own toolstack: ``xl``, whose locks and bookkeeping are respected.

An operation is a process of its own that outlives Ringfence: its end is a file, so that the next life sees what became
of it (law L9). Nothing here waits.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.world.domain import Domain
from ringfence.world.identities import DomainId, StepId
from ringfence.world.steps import Result, Status

LONGEST_S: Final = 3600.0
"""A process that has not ended by then is not waited for: a large guest's save takes minutes."""
LONGEST_CPU_S: Final = 30.0
"""Of taking a CPU out of use: ``cpu_hotplug`` gives up after ten; the rest is for starting it, and a hypercall that
does not come back."""
GUESTS: Final = Path("/etc/xen")
"""Where guests' configurations lie by custom, NAME.cfg (xl.cfg(5), xendomains)."""
BEGUN_S: Final = 10.0
"""From the order to the first sign of its process."""
WORDS_BYTES: Final = 500
"""Of what ``xl`` said, for the outcome's reason: its last words."""
MOST_CONFIGURATION_BYTES: Final = 1 << 20
"""Of a guest's configuration: some hundred lines."""
_NAME: Final = re.compile(rb"""^[ \t]*name[ \t]*=[ \t]*(["'])(.*?)\1""", re.MULTILINE)
KEPT: Final = 256
"""Ends of operations that are kept; the oldest go first."""

# The first line says who runs it; the end comes whole or not at all.
_SCRIPT: Final = """\
exec >"$1.log" 2>&1
end="$1"
shift
echo $$ >"$end.pid"
"$@"
echo $? >"$end.code.making"
mv "$end.code.making" "$end.code"
"""


@dataclass(slots=True)
class Toolstack:
    """``xl`` with a directory in which its operations leave their ends. Raises HypervisorError if it cannot be had."""

    home: Path
    xl: str = "xl"
    python: str = sys.executable
    configurations: Path = GUESTS
    _running: dict[StepId, float] = field(default_factory=dict)
    _until: dict[StepId, float] = field(default_factory=dict)
    _children: dict[StepId, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = shutil.which(self.xl)
        if found is None:
            raise HypervisorError("xl is not installed", advice="Install Xen's toolstack in Dom0 (xen-utils).")
        self.xl = found
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in sorted(self.home.glob("*.code"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            for suffix in (".code", ".log", ".pid"):
                old.with_suffix(suffix).unlink(missing_ok=True)

    def begin(self, order: StepId, words: Sequence[str]) -> Result:
        """Begin ``xl WORDS``; RUNNING unless it cannot even be started."""
        return self._begin(order, (self.xl, *words))

    def save(self, order: StepId, domain: DomainId, file: Path) -> Result:
        """Save a domain into a file: it is there when the whole of it is on the disk, and not before."""
        script = (
            '"$1" save "$2" "$3.making" && sync "$3.making" && mv "$3.making" "$3" || { rm -f "$3.making"; exit 1; }'
        )
        return self._begin(order, ("/bin/sh", "-c", script, "sh", self.xl, str(domain), str(file)))

    def restore(self, order: StepId, file: Path, instead_of: DomainId | None) -> Result:
        """Restore a domain from a file. One that is in its place is destroyed before: memory of both has no room."""
        script = 'if [ -n "$3" ]; then "$1" destroy "$3" || exit; fi; "$1" restore "$2"'
        gone = "" if instead_of is None else str(instead_of)
        return self._begin(order, ("/bin/sh", "-c", script, "sh", self.xl, str(file), gone))

    def cpu(self, order: StepId, cpu: int, *, online: bool) -> Result:
        """Take a CPU out of use, or into use: in a process of its own, as the hypercall may last."""
        # Where this process has its modules from, that one has, too: how it was started need not tell.
        path = f"PYTHONPATH={os.pathsep.join(each for each in sys.path if each)}"
        module = "ringfence.hypervisor.xen.cpu_hotplug"
        command = ("env", path, self.python, "-P", "-m", module, str(cpu), str(int(online)))
        return self._begin(order, command, LONGEST_CPU_S)

    def _begin(self, order: StepId, command: Sequence[str], longest_s: float = LONGEST_S) -> Result:
        try:
            self._children[order] = subprocess.Popen(  # noqa: S603 (numbers and paths of its own, no shell between)
                ["/bin/sh", "-c", _SCRIPT, "sh", str(self._end(order)), *command],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                close_fds=True,
                cwd="/",
            )
        except OSError as error:
            return Result(Status.FAILED, f"xl cannot be started: {error.strerror}")
        self._running[order] = time.monotonic()
        self._until[order] = self._running[order] + longest_s
        return Result(Status.RUNNING)

    def restart(self, order: StepId, domain: Domain) -> Result:
        """Destroy a domain and create it anew from NAME.cfg, as the domain that it was (its UUID).

        What libxl itself keeps of a domain (/var/lib/xen/userdata-d.N.UUID.libxl-json) ``xl create`` does not take, and
        it goes with the domain. Refused if there is no file, or it is another domain's; ``xl`` reads it once before
        anything is destroyed.
        """
        file = self.configurations / f"{domain.name}.cfg"
        if "/" in domain.name or domain.name.startswith("."):
            return Result(Status.REFUSED, f"{domain.name!r} is no name of a file: what it was made of is not known")
        try:
            with file.open("rb") as opened:
                said = opened.read(MOST_CONFIGURATION_BYTES)
        except OSError as error:
            return Result(Status.REFUSED, f"what to make it anew of is not known: {file}: {error.strerror}")
        named = _NAME.findall(said)
        if not named or named[-1][1] != domain.name.encode():
            return Result(Status.REFUSED, f"{file} is no configuration of {domain.name}: it has another name, or none")
        script = '"$1" create -n "$2" "$3" >/dev/null && "$1" destroy "$4" && "$1" create "$2" "$3"'
        same = f'uuid="{domain.uuid}"'
        return self._begin(order, ("/bin/sh", "-c", script, "sh", self.xl, str(file), same, str(domain.id)))

    def ended(self) -> tuple[tuple[StepId, Result], ...]:
        """The operations that have ended since the last look."""
        looked = [(order, self.probe(order)) for order in self._running]
        found = [(order, result) for order, result in looked if result.status is not Status.RUNNING]
        for order, _ in found:
            del self._running[order]
            self._until.pop(order, None)
        for order in [each for each, child in self._children.items() if child.poll() is not None]:
            del self._children[order]
        return tuple(found)

    def watch(self, order: StepId) -> None:
        """An operation of an earlier life: its end shall be told, too."""
        self._running.setdefault(order, time.monotonic())

    @property
    def has_children(self) -> bool:
        """Whether a process of this life is not gone yet: it goes a moment after it has said how it ended."""
        return bool(self._children)

    @property
    def is_busy(self) -> bool:
        """Whether the end of an operation is waited for."""
        return bool(self._running)

    def probe(self, order: StepId) -> Result:
        """What became of an operation."""
        end = self._end(order)
        try:
            code = int(end.with_suffix(".code").read_text())
        except FileNotFoundError:
            return self._unended(order)
        except ValueError:
            return Result(Status.UNKNOWN, "its end cannot be read")
        if code == 0:
            return Result(Status.DONE)
        return Result(Status.FAILED, f"{self._words(end)} (exit code {code})")

    def _unended(self, order: StepId) -> Result:
        began_s = self._running.get(order)
        if began_s is not None and time.monotonic() > (until_s := self._until.get(order, began_s + LONGEST_S)):
            return Result(Status.UNKNOWN, f"it has not ended within {until_s - began_s:.0f} s, and is not waited for")
        try:
            pid = int(self._end(order).with_suffix(".pid").read_text())
        except (FileNotFoundError, ValueError):
            if began_s is not None and time.monotonic() - began_s < BEGUN_S:
                return Result(Status.RUNNING)
            return Result(Status.UNKNOWN, "it was not begun, or its traces are gone")
        if Path(f"/proc/{pid}").exists():
            return Result(Status.RUNNING)
        if self._end(order).with_suffix(".code").exists():
            return self.probe(order)
        return Result(Status.UNKNOWN, "its process was ended before it could say how it went")

    def _end(self, order: StepId) -> Path:
        return self.home / str(order)

    def _words(self, end: Path) -> str:
        try:
            said = end.with_suffix(".log").read_bytes()[-WORDS_BYTES:]
        except OSError:
            return "it said nothing"
        return " ".join(said.decode("utf-8", "backslashreplace").split()) or "it said nothing"
