"""A policy tried on events that the journal has: in a process of its own (``dry_run``), which holds up nobody."""

from __future__ import annotations

import asyncio
import sys
from typing import Final, Literal

import msgspec

from ringfence.errors import SourceError

_PROCESS: Final = "ringfence.service.http.dry_run"

MOST_TRIED: Final = 200
"""Events of one trial: each is some tens of milliseconds under two policies."""
LONGEST_S: Final = 30.0
"""Of one trial; a person waits for it."""

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
        _PROCESS,
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
