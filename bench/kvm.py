"""On a real KVM host under emulation: how long from an error to its event and its first step, beside rasdaemon 0.8.3.

    RINGFENCE_LAB_CACHE=... python -m bench.kvm [--errors 12] [--idle-seconds 60]

The lab's host is thawed with Ringfence's service up; rasdaemon runs beside it, with its database (``-r``). Corrected
errors are put into a bank one after the other by QEMU's monitor, each of a page of its own; the kernel finds them by
polling, once a second. Within the host one process, the recorder, reads what three of them say, and notes the time
(CLOCK_MONOTONIC) at which it came out: the tracepoint itself (an instance of tracefs of its own, with that clock),
rasdaemon's line, and Ringfence's event as ``ringfence events --follow`` prints it, which is told once it is durable.
Then the same of a trend: from the last error that makes one of a page to the order that takes the page out.

What is compared is what two programs do on the same emulated processor, which they share: ratios mean something, and
times are those of an emulation, tens of times slower than a processor. More errors than a few in a row are a storm to
Linux, which then looks for no more of them (lab/kvm/warm.py): ``SPACE_S`` lies between two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from lab.kvm import host as kvm
from lab.kvm.image import image
from lab.kvm.machine import thaw
from lab.kvm.warm import GUEST, booted, serving
from lab.machine import Machine
from lab.remote import Remote
from lab.service import EVENTS, Service

NOTED: Final = "/tmp/noted.jsonl"
STARTED_S: Final = 60.0
SPACE_S: Final = 6.0
TREND: Final = 3
"""Of lab/kvm/warm.py's policy."""

RECORDER: Final = r"""
import json, os, pty, select, subprocess, sys, time
home = "/sys/kernel/tracing/instances/bench"
os.makedirs(home, exist_ok=True)
for name, value in (("trace_clock", "mono"), ("events/mce/mce_record/enable", "1")):
    open(f"{home}/{name}", "w").write(value)
trace = os.open(f"{home}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
ends = {trace: "trace"}
for name, words in (("rasdaemon", ["rasdaemon", "-f", "-r"]), ("ringfence", ["tail", "-n", "0", "-f", sys.argv[1]])):
    mine, its = pty.openpty()
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=its, stderr=its)
    os.close(its)
    ends[mine] = name
    print(json.dumps({"of": name, "pid": process.pid}), flush=True)
out = open(sys.argv[2], "w")
held = dict.fromkeys(ends, b"")
while True:
    for end in select.select(list(ends), [], [])[0]:
        at = time.clock_gettime(time.CLOCK_MONOTONIC)
        *lines, held[end] = (held[end] + os.read(end, 65536)).split(b"\n")
        for line in lines:
            print(json.dumps({"of": ends[end], "at": at, "said": line.decode(errors="replace")}), file=out, flush=True)
"""


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--errors", type=int, default=12)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        warm, machine = Machine(Path(place, "warm")), Machine(Path(place, "bench"))
        try:
            frozen = serving(warm, booted(image()))
            thaw(machine, frozen)
            with Remote(machine) as host:
                kvm.set_clock(host)
                measure(machine, host, given.errors, given.idle_seconds)
        finally:
            warm.stop()
            machine.stop()
    return 0


def measure(machine: Machine, host: Remote, errors: int, idle_s: float) -> None:
    """All of it on one host that is up."""
    pid = Service(machine, host, "kvm").pid
    print(f"ringfence at rest: {memory(host, pid)}")
    before = cpu_s(host, pid)
    time.sleep(idle_s)
    print(f"  CPU over {idle_s:.0f} s without an error: {100 * (cpu_s(host, pid) - before) / idle_s:.2f} % of one")

    host.write("/tmp/recorder.py", RECORDER.encode())
    host.must(f"(setsid python3 /tmp/recorder.py {EVENTS} {NOTED} >/tmp/recorder.log 2>&1 </dev/null &)")
    until(lambda: "Listening" in said(host, "rasdaemon") or "recording" in said(host, "rasdaemon").lower())
    peer = int(host.must(["pidof", "rasdaemon"]).split()[0])
    print(f"rasdaemon at rest: {memory(host, peer)}")

    service = Service(machine, host, "kvm")
    start = {each: cpu_s(host, each) for each in (pid, peer)}
    frames = [kvm.frame(host, GUEST, each) for each in kvm.pages(host, GUEST)[: min(errors, 60)]]
    for at in range(errors):
        kvm.corrected(machine, frames[at % len(frames)])
        time.sleep(SPACE_S)
    spent = {each: cpu_s(host, each) - start[each] for each in (pid, peer)}
    traced = [each for each in noted(host) if each["of"] == "trace" and "mce_record" in each["said"]]
    ours = [each["at"] for each in noted(host) if each["of"] == "ringfence" and '"Received"' in each["said"]]
    addresses = [f"{frames[at % len(frames)] << 12:x}" for at in range(errors)]
    lines = [each for each in noted(host) if each["of"] == "rasdaemon"]
    theirs = [each["at"] for each in lines if any(one in each["said"].lower() for one in addresses)]
    base = [stamp(each["said"]) for each in traced]
    print(
        f"{errors} corrected errors: the tracepoint {len(base)}, rasdaemon {len(theirs)}, Ringfence {len(ours)} events"
    )
    print(f"  a line of rasdaemon's: {lines[-1]['said']}")
    rows = host.must(["python3", "-c", ROWS]).strip()
    print(f"  in rasdaemon's database: {rows}")
    for name, found in (("rasdaemon", theirs), ("Ringfence, durable and told", ours)):
        delays = sorted(1000 * (at - of) for of, at in zip(base, found, strict=False))
        if delays:
            print(
                f"  from the tracepoint to {name}: median {statistics.median(delays):.0f} ms, worst {delays[-1]:.0f} ms"
            )
    print(f"  CPU: Ringfence {spent[pid]:.2f} s, rasdaemon {spent[peer]:.2f} s, of {errors} errors")
    first_step(machine, host, service)
    print(f"  memory: Ringfence {memory(host, pid)}; rasdaemon {memory(host, peer)}")


def first_step(machine: Machine, host: Remote, service: Service) -> None:
    """From the tracepoint of the error that makes a trend to the order that is told, durable."""
    last, seen = service.last, len(noted(host))
    frame = kvm.frame(host, GUEST, kvm.pages(host, GUEST)[61])
    for _ in range(2 * TREND):
        kvm.corrected(machine, frame)
        time.sleep(SPACE_S)
        if any(each["kind"] == "Intended" for each in service.events(last)):
            break
    new = noted(host)[seen:]
    stamps = [stamp(each["said"]) for each in new if each["of"] == "trace" and "mce_record" in each["said"]]
    orders = [each["at"] for each in new if each["of"] == "ringfence" and '"Intended"' in each["said"]]
    if orders:
        base = max(each for each in stamps if each < orders[0])
        print(f"  from the tracepoint to the first step of a trend, told: {1000 * (orders[0] - base):.0f} ms")


ROWS: Final = """
import sqlite3
print(sqlite3.connect('/var/lib/rasdaemon/ras-mc_event.db').execute('select count(*) from mce_record').fetchone()[0])
"""


def noted(host: Remote) -> list[dict[str, Any]]:
    """What the recorder has read so far."""
    return [json.loads(line) for line in host.run(["cat", NOTED]).out.splitlines() if line.endswith("}")]


def said(host: Remote, who: str) -> str:
    """What one of them printed."""
    return "\n".join(each["said"] for each in noted(host) if each["of"] == who)


def stamp(line: str) -> float:
    """The time of a tracepoint: the last number before the event's name, seconds."""
    return float(line.partition(": mce_record")[0].rpartition(" ")[2])


def cpu_s(host: Remote, pid: int) -> float:
    """User and system time of a process, its threads among it, seconds (proc_pid_stat(5))."""
    fields = host.must(["cat", f"/proc/{pid}/stat"]).rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory(host: Remote, pid: int) -> str:
    """What a process has resident, and what of it is its own."""
    lines = host.must(["cat", f"/proc/{pid}/smaps_rollup"]).splitlines()
    kib = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return f"{kib['Rss:'] / 1024:.0f} MiB resident, {kib['Pss:'] / 1024:.0f} MiB of it its own (PSS)"


def until(is_it: Any) -> None:
    """Wait for it. Raises TimeoutError."""
    end_s = time.monotonic() + STARTED_S
    while not is_it():
        if time.monotonic() > end_s:
            raise TimeoutError
        time.sleep(0.5)


if __name__ == "__main__":
    raise SystemExit(main())
