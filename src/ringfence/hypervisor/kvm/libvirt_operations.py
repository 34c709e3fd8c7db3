"""What is done to a domain through libvirt, each on a connection of its own; and what became of it, after a kill.

Source: libvirt-domain.h for each call; libvirt src/qemu/qemu_migration.c and qemu_driver.c for what goes on when the
client is gone: a peer-to-peer migration and a managed save do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm.aside import Trace
from ringfence.hypervisor.kvm.libvirt import Connection, Job, LibvirtDomain, LibvirtError, Shutoff, State, connected
from ringfence.world.steps import Result, Status

SHUT_DOWN_S: Final = 600.0
"""A guest that has not shut down by then does not: the policy's own deadline is shorter, and does not wait for this."""
FOLLOWED_S: Final = 7200.0
"""A job of an earlier life that has not ended by then is not followed any more: a migration of 1 TiB takes an hour."""
LOOK_S: Final = 0.5

_JOBS: Final = frozenset({Job.BOUNDED, Job.UNBOUNDED})
_RUNS: Final = frozenset({State.RUNNING, State.BLOCKED, State.PAUSED, State.SHUTDOWN, State.PMSUSPENDED})


@dataclass(frozen=True, slots=True)
class LibvirtOperations:
    """The operations on the domain of a UUID. Each blocks until it has ended, and tells what became of it."""

    uri: str
    connect: Callable[[str], AbstractContextManager[Connection]] = connected

    def _do(self, uuid: str, what: Callable[[LibvirtDomain], Result]) -> Result:
        try:
            with self.connect(self.uri) as connection, connection.domain(uuid) as domain:
                return what(domain)
        except LibvirtError as error:
            return Result(Status.REFUSED if error.is_refusal else Status.FAILED, f"libvirt: {error}")
        except HypervisorError as error:
            return Result(Status.FAILED, f"libvirt cannot be asked: {error}")

    def pause(self, uuid: str) -> Result:
        """Stop it; one that stands stays so."""

        def done(domain: LibvirtDomain) -> Result:
            if domain.state[0] == State.PAUSED:
                return Result(Status.DONE, "it is paused already")
            domain.suspend()
            return Result(Status.DONE)

        return self._do(uuid, done)

    def unpause(self, uuid: str) -> Result:
        """Let it run again."""

        def done(domain: LibvirtDomain) -> Result:
            if domain.state[0] == State.RUNNING:
                return Result(Status.DONE, "it runs already")
            domain.resume()
            return Result(Status.DONE)

        return self._do(uuid, done)

    def destroy(self, uuid: str) -> Result:
        """End it at once."""

        def done(domain: LibvirtDomain) -> Result:
            if domain.state[0] not in _RUNS:
                return Result(Status.DONE, "it does not run")
            domain.destroy()
            return Result(Status.DONE)

        return self._do(uuid, done)

    def save(self, uuid: str) -> Result:
        """Managed save."""

        def done(domain: LibvirtDomain) -> Result:
            domain.save()
            return Result(Status.DONE)

        return self._do(uuid, done)

    def restore(self, uuid: str) -> Result:
        """Go on from the managed save: its disks have not changed since, for it has not run."""

        def done(domain: LibvirtDomain) -> Result:
            if not domain.is_saved:
                return Result(Status.REFUSED, "libvirt keeps no managed save of it")
            domain.start()
            return Result(Status.DONE)

        return self._do(uuid, done)

    def restart(self, uuid: str) -> Result:
        """End it, and start it from its disks in new memory."""

        def done(domain: LibvirtDomain) -> Result:
            if not domain.is_persistent:
                return Result(Status.REFUSED, "it is transient: libvirt keeps no definition to start it from")
            if domain.state[0] in _RUNS:
                domain.destroy()
            domain.start(anew=True)
            return Result(Status.DONE)

        return self._do(uuid, done)

    def shut_down(self, uuid: str) -> Result:
        """Ask it to shut down, and wait until it has."""

        def done(domain: LibvirtDomain) -> Result:
            domain.shut_down()
            return _awaited(domain)

        return self._do(uuid, done)

    def migrate(self, uuid: str, uri: str) -> Result:
        """Move it live to the host that libvirt finds at ``uri``, if that can be reached and has room."""

        def done(domain: LibvirtDomain) -> Result:
            try:
                with self.connect(uri) as there:
                    room_kib = there.free_memory_bytes >> 10
            except (LibvirtError, HypervisorError) as error:
                return Result(Status.REFUSED, f"the other host is not well: {error}")
            needed_kib = domain.size[0]
            if room_kib < needed_kib:
                return Result(Status.REFUSED, f"the other host has {room_kib:,} KiB free, it needs {needed_kib:,}")
            domain.migrate(uri)
            return Result(Status.DONE, f"it runs at {uri}")

        return self._do(uuid, done)

    # --- of an earlier life ------------------------------------------------------------------------------------------

    def followed(self, trace: Trace) -> Result:
        """What became of an order of an earlier life, once the job that it left has ended."""
        try:
            return self._followed(trace)
        except (LibvirtError, HypervisorError) as error:
            return Result(
                Status.UNKNOWN, f"it was begun before Ringfence was killed, and libvirt does not say: {error}"
            )

    def _followed(self, trace: Trace) -> Result:
        until_s = time.monotonic() + FOLLOWED_S
        while time.monotonic() < until_s:
            with self.connect(self.uri) as connection:
                try:
                    with connection.domain(trace.key) as domain:
                        found = self._became(trace, domain)
                except LibvirtError as error:
                    if not error.is_refusal:
                        raise
                    found = self._elsewhere(trace)
            if found is not None:
                return found
            time.sleep(LOOK_S)
        return Result(Status.UNKNOWN, f"it has not ended within {FOLLOWED_S:.0f} s")

    def _became(self, trace: Trace, domain: LibvirtDomain) -> Result | None:
        """How it stands with a domain that is known here; None: it goes on."""
        state, reason = domain.state
        runs = state in _RUNS
        if runs and domain.progress.type in _JOBS:
            return None
        match trace.what:
            case "migrate" if not runs:
                return Result(Status.DONE) if reason == Shutoff.MIGRATED else self._elsewhere(trace)
            case "save" if not runs:
                return Result(Status.DONE) if domain.is_saved else Result(Status.FAILED, "it ended, and is not saved")
            case "restore" | "restart" if runs:
                return Result(Status.DONE)
            case "restart":
                return self.restart(trace.key)  # it was ended, and not started yet
            case "restore":
                return Result(Status.FAILED, "it does not run")
            case "shut down":
                return _awaited(domain) if runs else Result(Status.DONE)
            case _:
                return Result(Status.FAILED, "it runs here as before")

    def _elsewhere(self, trace: Trace) -> Result:
        if trace.what != "migrate" or not trace.destination:
            return Result(Status.UNKNOWN, "libvirt does not know it any more")
        with self.connect(trace.destination) as there, there.domain(trace.key) as domain:
            if domain.state[0] in _RUNS:
                return Result(Status.DONE, f"it runs at {trace.destination}")
        return Result(Status.UNKNOWN, "it runs neither here nor at the other host")


def _awaited(domain: LibvirtDomain) -> Result:
    until_s = time.monotonic() + SHUT_DOWN_S
    while time.monotonic() < until_s:
        if domain.state[0] not in _RUNS:
            return Result(Status.DONE)
        time.sleep(LOOK_S)
    return Result(Status.FAILED, f"it has not shut down within {SHUT_DOWN_S:.0f} s")
