"""A policy tried on events that the journal has: a process of its own, so that the one that decides is not held up.

``python -m ringfence.service.http.dry_run`` reads a ``Trial`` as JSON from its input and writes a ``Tried`` to its
output. It runs niced, within the bounds below, and touches nothing but a temporary directory.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

import msgspec

from ringfence.decision.policy_file import read
from ringfence.diagnosis.finding import Event, diagnose
from ringfence.errors import RingfenceError, SourceError
from ringfence.journal.events import Received, from_text
from ringfence.record.evidence import Unrecognised
from ringfence.service.replay import Played, replay
from ringfence.views import replay as view

MOST_TRIED: Final = 200
"""Events of one trial: each is some tens of milliseconds under two policies."""
LONGEST_S: Final = 30.0
"""Of one trial; a person waits for it."""
MOST_BYTES: Final = 1 << 30
"""Of the process's memory."""
NICE: Final = 10

StandIn = Literal["hvm", "hvm-plain", "pv", "pv-plain"]
"""Whose page it was, a record alone does not say (``service.replay.STAND_INS``)."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried: the policy in force and another one, as texts, on events as the journal has them."""

    in_force: str
    proposed: str
    events: tuple[tuple[int, str], ...]
    stand_in: StandIn


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One event, and what would become of it: under the policy in force, and under the proposed one."""

    number: int
    severity: str
    summary: str
    in_force: tuple[str, ...]
    proposed: tuple[str, ...]
    differs: bool


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial gave."""

    events: tuple[Compared, ...]


# --- in the service ---------------------------------------------------------------------------------------------------


async def tried(trial: Trial) -> Tried:
    """Have a trial run. Raises SourceError if it fails or takes too long."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            said, wrong = await process.communicate(msgspec.json.encode(trial))
    except TimeoutError as error:
        raise SourceError("the dry run", f"it took longer than {LONGEST_S:g} s", advice="Try fewer events.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        why = wrong.decode("utf-8", "replace").strip().rpartition("\n")[2] or f"exit code {process.returncode}"
        raise SourceError("the dry run", why, advice="Please report it, with the policy.")
    return msgspec.json.decode(said, type=Tried)


# --- in the process of its own ----------------------------------------------------------------------------------------


def run(trial: Trial, directory: Path) -> Tried:
    """Put the events to a model host under both policies. Raises PolicyError."""
    policies = tuple(read(text.encode()).policy for text in (trial.in_force, trial.proposed))
    stored = {number: event for number, text in trial.events if isinstance(event := from_text(text), Received)}
    numbered = [Event(number, diagnose(event.record), event.count) for number, event in stored.items()]
    found = replay(numbered, policies, directory, stand_in=trial.stand_in)
    return Tried(events=tuple(_compared(each) for each in found if not isinstance(each, Unrecognised)))


def _compared(played: tuple[Played, ...]) -> Compared:
    event = played[0].event
    corrected = event.finding.severity == "CORRECTED"
    in_force, proposed = (
        view.outcome(each.outcome, each.ahead, halted=each.halted, corrected=corrected) for each in played
    )
    return Compared(
        number=event.number,
        severity=event.finding.severity,
        summary=event.finding.summary,
        in_force=in_force,
        proposed=proposed,
        differs=in_force != proposed,
    )


def main() -> int:
    """The process; the exit code."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CPU, (int(LONGEST_S), int(LONGEST_S)))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    try:
        with tempfile.TemporaryDirectory(prefix="ringfence-dry-run-") as directory:
            found = run(trial, Path(directory))
    except RingfenceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
