"""Scripts of the guest's administrator, run before and after pages are taken out of use; each bounded in time.

A hook is an executable file in the directory of hooks, named by letters, digits, ``-`` and ``_`` alone (so that what an
editor or a package manager leaves beside it does not run); they run one after the other by name. The directory and the
file must belong to root or to the agent's user, and nobody else may write them.

=========================  ===========================================================================================
RINGFENCE_STAGE            ``before`` or ``after``
RINGFENCE_WHAT             ``lost`` or ``endangered``
RINGFENCE_MUST_ACT         ``1`` or ``0``
RINGFENCE_CASE             the host's number of the case
RINGFENCE_PAGES            addresses of the pages, guest-physical, hexadecimal, a blank between two
RINGFENCE_OWNERS           ``PID:NAME:UNIT`` of each process that maps one, a blank between two; ``_`` is anything odd
RINGFENCE_OUTCOME          after: ``healed``, ``refused``, ``failed`` or ``not-ours``; before: empty
RINGFENCE_DRY_RUN          ``1`` if nothing is to be changed, else ``0``
=========================  ===========================================================================================
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST_HOOKS: Final = 32
VETO: Final = 75
"""The exit code (EX_TEMPFAIL, sysexits.h) by which a hook that runs before says that the pages shall stay."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Ran:
    """How a hook ended: its exit code (None: it was stopped, or could not be started), and why in words if not well."""

    name: str
    code: int | None
    why: str = ""


def hooks(directory: Path) -> tuple[list[Path], list[Ran]]:
    """The hooks that may run, and those that may not, with the reason."""
    try:
        names = sorted(each.name for each in directory.iterdir())
    except OSError:
        return [], []
    if (why := _not_trusted(directory)) is not None:
        return [], [Ran(str(directory), None, why)]
    good: list[Path] = []
    bad: list[Ran] = []
    for name in names:
        if _NAME.fullmatch(name) is None or not os.access(directory / name, os.X_OK):
            continue
        why = _not_trusted(directory / name)
        if why is None and len(good) >= MOST_HOOKS:
            why = f"there are {MOST_HOOKS} before it"
        if why is None:
            good.append(directory / name)
        else:
            bad.append(Ran(name, None, why))
    return good, bad


def run(hook: Path, environment: Mapping[str, str], most_s: float) -> Ran:
    """Run a hook to its end, or stop it with all that it has started when its time is up."""
    try:
        process = subprocess.Popen(  # noqa: S603 (the administrator's own file, checked above)
            [str(hook)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            close_fds=True,
            cwd="/",
            env={"PATH": PATH, **environment},
        )
    except OSError as error:
        return Ran(hook.name, None, f"it cannot be started: {error.strerror}")
    try:
        code = process.wait(most_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return Ran(hook.name, None, f"it was stopped after {most_s:.3g} s")
    return Ran(hook.name, code, "" if code == 0 else f"it ended with {code}")


def _not_trusted(path: Path) -> str | None:
    """Why a file may not be run, None if it may: whoever can write it would be root."""
    try:
        status = path.stat()
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    if status.st_uid not in {0, os.geteuid()}:
        return "it belongs to somebody else than root"
    if status.st_mode & _OTHERS_WRITE:
        return "others may write it"
    return None
