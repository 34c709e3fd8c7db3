"""Takes the service's numbers: from the journal's state, the host and the process, in the writer's thread."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ringfence.service import control, ledger, writer
from ringfence.service import control_protocol as say
from ringfence.service.asking import ask
from ringfence.service.measures import Measures
from ringfence.service.writer import Desk
from ringfence.views.exposition import Exposition, exposition
from ringfence.views.metric_values import Queue, Readings, samples
from ringfence.views.metrics import Sample

if TYPE_CHECKING:
    from ringfence.service.attendants import House


def measured(desk: Desk, health: say.Health, measures: Measures, *, waiting: int) -> tuple[Sample, ...]:
    """Every number now. ``waiting`` is how many wait in the writer's inbox."""
    dom0 = desk.world.host.situation(None).dom0
    queues = (
        Queue("writer inbox", waiting, writer.INBOX),
        Queue("clients", health.clients, control.MOST_CLIENTS),
        Queue("unwritten events", health.unwritten, ledger.MOST_UNWRITTEN),
    )
    readings = Readings(
        version=health.service_version,
        hypervisor=health.hypervisor,
        started_s=health.started_wall_ms / 1000,
        host_now_ms=health.now_ms,
        halted=health.halted,
        dom0_able=dom0.has_handler and not dom0.hurt,
        dom0_hurt=dom0.hurt,
        domains=health.domains,
        dry_run=desk.policy.policy.dry_run,
        policy_refused=bool(health.policy_problem),
        problems=len(health.problems),
        journal_events=desk.journal.last,
        journal_bytes=_bytes_of(desk.journal.path),
        reserve_ready=desk.journal.has_reserve,
        unkept=health.unkept,
        latency=measures.latency.histogram,
        turn=measures.turn.histogram,
        queues=queues,
        turned_away=health.turned_away,
        dropped=health.slow_readers,
        sources=tuple(measures.sources.all.items()),
        outlets=tuple(measures.outlets.all.items()),
    )
    return samples(desk.loop.state, readings)


def _bytes_of(journal: Path) -> int:
    """What the journal takes, its write-ahead log included; what cannot be looked at counts nothing."""
    found = 0
    for path in (journal, journal.with_name(f"{journal.name}-wal")):
        try:
            found += os.stat(path).st_size  # noqa: PTH116 (called at each reading)
        except OSError:
            continue
    return found


async def exposed(house: House, form: Exposition) -> str | say.Refused:
    """The numbers of now as text; refused while the writer is too busy to give them."""
    found = await ask(house.writer, house.samples)
    return found if isinstance(found, say.Refused) else exposition(found, form)
