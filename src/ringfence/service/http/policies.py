"""The policy: what is in force, in words; and what another one would do, tried on what happened."""

from __future__ import annotations

from collections import deque
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ringfence.decision.policy_explained import PolicyExplained, explain
from ringfence.decision.policy_file import read, write
from ringfence.errors import FileProblem, PolicyError
from ringfence.journal.events import Received, to_text
from ringfence.journal.store import Reader
from ringfence.service import control_protocol as say
from ringfence.service.http.api import Asked
from ringfence.service.http.bounds import MOST_POLICY_CHARACTERS, MOST_SCANNED, POLICY_BODY_BYTES
from ringfence.service.http.problems import problem
from ringfence.service.http.routes import Answer, Call, Method, Nothing, Route, Scope
from ringfence.service.http.trial import MOST_TRIED, Compared, StandIn, Trial, tried

PROPOSED: Final = "proposed.toml"
"""What messages call a policy that came over HTTP."""


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that is in force: its file (empty for the default), its text, and what it does, row by row."""

    path: str
    digest: str
    text: str
    dry_run: bool
    explained: PolicyExplained


class Proposal(Asked, frozen=True, kw_only=True):
    """A policy to be tried, on the last events. Nothing of it comes into force.

    Whose page an error hit, a record alone does not say: a guest of the kind ``stand_in`` is taken to have had it.
    """

    text: Annotated[str, Meta(max_length=MOST_POLICY_CHARACTERS, description="A policy's file, in TOML.")]
    last: Annotated[int, Meta(ge=0, le=MOST_TRIED, description="So many of the last records.")] = 50
    stand_in: StandIn = "hvm"


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a proposal: ``problems`` with their lines if it is no policy, else what it does, row by row.

    ``events`` are the ones that it was tried on, ``differing`` of them would end otherwise. ``assumed`` is what the
    comparison takes for granted.
    """

    good: bool
    problems: tuple[FileProblem, ...] = ()
    explained: PolicyExplained | None = None
    events: tuple[Compared, ...] = ()
    differing: int = 0
    assumed: str = ""


async def in_force(call: Call[Nothing]) -> Answer:
    """The policy that is in force."""
    loaded = await call.ask(lambda desk: desk.policy)
    if isinstance(loaded, say.Refused):
        return loaded
    return PolicyInForce(
        path=loaded.file.path,
        digest=loaded.digest,
        text=loaded.text,
        dry_run=loaded.policy.dry_run,
        explained=await call.compute(lambda: explain(loaded.file)),
    )


async def dry_run(call: Call[Proposal]) -> Answer:
    """Try a policy."""
    asked = call.asked
    loaded = await call.ask(lambda desk: desk.policy)
    if isinstance(loaded, say.Refused):
        return loaded
    try:
        file = await call.compute(lambda: read(asked.text.encode("utf-8", "surrogatepass"), PROPOSED))
    except PolicyError as error:
        return DryRun(good=False, problems=error.problems)
    if call.door.trying.locked():
        advice = "One is tried at a time: try again in a moment."
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "another policy is being tried", advice, retry_after_s=5)
    async with call.door.trying:
        events = await call.compute(lambda: _last(call.house.journal, asked.last, call.house.news.last))
        trial = Trial(in_force=write(loaded.policy), proposed=asked.text, events=events, stand_in=asked.stand_in)
        found = (await tried(trial)).events if events else ()
    return DryRun(
        good=True,
        explained=await call.compute(lambda: explain(file)),
        events=found,
        differing=sum(each.differs for each in found),
        assumed=f"A guest ({asked.stand_in}) had every page that is named, and ran where something was consumed; the "
        "trends begin with the first of these events.",
    )


def _last(journal: Path, most: int, last: int) -> tuple[tuple[int, str], ...]:
    """The last records of the journal, as its lines."""
    with Reader(journal) as reader:
        begin = max(reader.base.number, last - MOST_SCANNED)
        found = deque(reader.events(begin, kinds=(Received,)), maxlen=most)
    return tuple((number, to_text(each)) for number, each in found if isinstance(each, Received))


ROUTES = (
    Route(
        method=Method.GET, path="/api/v1/policy", name="policy", needs=Scope.READ, asked=Nothing,
        answers=PolicyInForce, handler=in_force, summary="The policy in force: its text, and what it does in words",
    ),
    Route(
        method=Method.POST, path="/api/v1/policy/dry-run", name="dryRun", needs=Scope.READ, asked=Proposal,
        answers=DryRun, handler=dry_run, body_bytes=POLICY_BODY_BYTES,
        summary="Try a policy: its problems by line, or what it would have decided otherwise of the last records",
    ),
)  # fmt: skip
