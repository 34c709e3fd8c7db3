"""What Xen did by itself before it told: what its recovery entry says, and what can be seen (mc_memerr_dhandler)."""

from __future__ import annotations

from collections.abc import Sequence

from ringfence.arch.mci_status import PCC
from ringfence.hypervisor.xen import pages
from ringfence.record.evidence import Delivery, Record
from ringfence.world.domain import Domain, DomainState
from ringfence.world.identities import DOM0, Frame
from ringfence.world.situation import AlreadyDone, Deed


def is_of_earlier_boot(record: Record) -> bool:
    """A corrupt context that polling finds has ended an earlier boot: in its own, Xen panics at the #MC (mce_panic)."""
    status = record.registers.status
    return record.delivery is Delivery.POLLED and status is not None and bool(PCC.of(status))


def already_done(record: Record, domains: Sequence[Domain]) -> tuple[AlreadyDone, ...]:
    """Xen's own deeds about a record."""
    seen = record.hypervisor
    if seen is None or seen.machine_frame is None:
        return ()
    frame, owner = Frame(seen.machine_frame), pages.owner(record)
    done: list[AlreadyDone] = []
    if pages.is_offlined(record):
        done.append(AlreadyDone(Deed.OFFLINED_FRAME, frame=frame))
    known = next((each for each in domains if each.id == owner), None)
    if owner is not None and (known is None or known.state is DomainState.CRASHED):
        done.append(AlreadyDone(Deed.KILLED_DOMAIN, domain=owner, frame=frame))
    elif owner is not None and pages.is_told(record):
        if owner != DOM0:
            done.append(AlreadyDone(Deed.ISOLATED_FRAME, domain=owner, frame=frame))
        done.append(AlreadyDone(Deed.INJECTED_VMCE, domain=owner, frame=frame))
    return tuple(done)
