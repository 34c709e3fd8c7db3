"""Takes one CPU out of use, or into use: a program, so that a hypercall that lasts holds nobody else up.

Xen answers EBUSY while it cannot stop the CPU (xen/arch/x86/sysctl.c, cpu_down_helper; a vCPU that is pinned there
keeps it so for ever): it is asked again for a while. Arguments: the CPU's number; 1 for into use, 0 for out of use.
"""

from __future__ import annotations

import errno
import sys
import time
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.xen.privcmd import Gate, Privcmd
from ringfence.hypervisor.xen.sysctl import Sysctl
from ringfence.world.identities import CpuId

TRIED_FOR_S: Final = 10.0
PAUSE_S: Final = 0.2
"""So a CPU is tried fifty times at most."""

_WHY: Final = {
    errno.EINVAL: "Xen does not take this CPU out of use (CPU 0, or one that is not there)",
    errno.EBUSY: "a vCPU or the scheduler keeps it: it is busy",
    errno.ENODEV: "there is no such CPU",
    errno.EPERM: "Xen does not let this domain do it",
    errno.ENOSYS: "this Xen was built without CPU hot plug",
}


def switched(gate: Gate, cpu: CpuId, *, online: bool, tried_for_s: float = TRIED_FOR_S) -> str | None:
    """Switch a CPU; None if it is done, else why not. Raises HypervisorError if Xen speaks another interface."""
    sysctl, until_s = Sysctl(gate), time.monotonic() + tried_for_s
    while True:
        try:
            sysctl.cpu(cpu, online=online)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return None  # it is so already
            if error.errno != errno.EBUSY or time.monotonic() >= until_s:
                return f"CPU {cpu}: {_WHY.get(error.errno or 0, error.strerror)}"
            time.sleep(PAUSE_S)
        else:
            return None


def main() -> int:
    """The program."""
    cpu, online = int(sys.argv[1]), sys.argv[2] == "1"
    try:
        why = switched(Privcmd(), CpuId(cpu), online=online)
    except HypervisorError as error:
        why = str(error)
    if why is None:
        return 0
    print(why, file=sys.stderr)  # noqa: T201 (a program: its words are the outcome's reason)
    return 1


if __name__ == "__main__":
    sys.exit(main())
