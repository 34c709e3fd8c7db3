"""What is done to a guest through QEMU's own monitor, where there is no libvirt: what QMP has, and no more.

Source: qapi/misc.json (stop, cont, quit, system_powerdown, system_reset). QEMU alone keeps no definition of a machine:
it cannot be saved to be started anew, nor moved, by Ringfence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ringfence.hypervisor.kvm.qmp import Qmp, QmpError
from ringfence.world.steps import Result, Status

SHUT_DOWN_S: Final = 600.0
LOOK_S: Final = 0.5
QUIT_S: Final = 5.0
"""A QEMU that was told to quit gives its memory back within seconds."""

NO_WAY: Final = Result(Status.REFUSED, "QEMU runs without libvirt: its monitor has no way to do this")


@dataclass(frozen=True, slots=True)
class QmpOperations:
    """The operations on the guest of a key. Each blocks until it has ended."""

    monitor: Callable[[str], Qmp | None]

    def _do(self, key: str, what: Callable[[Qmp], Result]) -> Result:
        qmp = self.monitor(key)
        if qmp is None:
            return Result(Status.REFUSED, "its monitor cannot be reached")
        try:
            return what(qmp)
        except QmpError as error:
            return Result(Status.REFUSED if error.refused else Status.FAILED, f"QEMU: {error}")

    def _command(self, key: str, command: str, wanted: str) -> Result:
        def done(qmp: Qmp) -> Result:
            qmp.execute(command)
            status = qmp.status
            return Result(Status.DONE) if status == wanted else Result(Status.FAILED, f"it is {status} all the same")

        return self._do(key, done)

    def pause(self, key: str) -> Result:
        """Stop its virtual CPUs."""
        return self._command(key, "stop", "paused")

    def unpause(self, key: str) -> Result:
        """Let them run again."""
        return self._command(key, "cont", "running")

    def destroy(self, key: str) -> Result:
        """End QEMU."""

        def done(qmp: Qmp) -> Result:
            qmp.execute("quit")
            return _ended(qmp, QUIT_S)

        return self._do(key, done)

    def shut_down(self, key: str) -> Result:
        """Press its power button, and wait until it has ended."""

        def done(qmp: Qmp) -> Result:
            qmp.execute("system_powerdown")
            return _ended(qmp, SHUT_DOWN_S)

        return self._do(key, done)

    def restart(self, key: str) -> Result:
        """Reset it: QEMU then gives it good memory in the place of what was poisoned (accel/kvm/kvm-all.c,
        kvm_unpoison_all).
        """
        return self._command(key, "system_reset", "running")


def _ended(qmp: Qmp, within_s: float) -> Result:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        try:
            if qmp.is_over or qmp.status == "shutdown":
                return Result(Status.DONE)
        except QmpError:
            if qmp.is_over:
                return Result(Status.DONE)  # it has hung up in between
        time.sleep(min(LOOK_S, within_s / 10))
    return Result(Status.FAILED, f"it has not ended within {within_s:g} s")
