"""Sends a storm of corrected errors through a socket to a real ``ringfence run``, with uncorrected ones in its midst.

    python -m bench.storm [--rate 100000] [--seconds 60] [--errors 5] [--spread bank] [--quiet] [--outlets]

The service runs in a process of its own, on the model host standing in for this machine, with a state directory on the
disk that TMPDIR names. What is measured, and missed if it is not so (exit 1):

- each uncorrected error is in the journal, and what is done about it has ended (its page isolated, the guest told), at
  most 50 ms after the sender began to write it. Both are seen by a reader of the journal's file, once they are durable;
- the service's memory stays below 200 MB (VmHWM of /proc/PID/status, its peak);
- the machine stays usable: the control socket answers within a second, asked ten times a second; and a process beside
  it that only computes gets at least half of the CPU time that it gets while the service is idle;
- the number is exact: received (and in the journal, counted anew from its events) + lost = sent.

With ``--outlets`` all that tells others is on as well, and used: the HTTP API on a unix socket with one who follows its
stream of events and one who asks for the metrics each second, a webhook for every event whose receiver answers at once,
and the metrics' file, each second. How much of it came is printed.

The rate is what the sender was to send; what it could send is said. On a machine that does other work as well, times
are worse than they are at rest: its load is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.reports import BYTES, SPREADS, Storm, uncorrected
from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.world.identities import CaseId

RINGFENCE: Final = str(Path(sys.executable).with_name("ringfence"))
GOAL_MS: Final = 50.0
GOAL_MEMORY_KB: Final = 200_000
GOAL_ANSWER_S: Final = 1.0
GOAL_SHARE: Final = 0.5
START_S: Final = 30.0
SETTLE_S: Final = 30.0
LOOK_S: Final = 0.001
STEPS_A_SECOND: Final = 100

COUNTING: Final = """
import time
while True:
    end, done = time.process_time() + 0.001, 0
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        done += 1
    print(time.process_time(), flush=True)
"""
"""A process that only computes: it says each second how much CPU time it has had."""


# --- the sender, a process of its own ---------------------------------------------------------------------------------


def send(path: str, rate: int, seconds: float, errors: int, spread: str) -> None:
    """Send the storm; prints one line for each uncorrected error, and at the end how many reports were sent."""
    storm = Storm(spread)
    step = max(1, rate // STEPS_A_SECOND)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sender:
        sender.connect(path)
        sender.sendall(b"structs %d\n" % BYTES)
        began, sent, told = time.monotonic(), 0, 0
        while (now := time.monotonic() - began) < seconds:
            # The first error comes when the storm is at its height, the last one before it ends.
            if told < errors and now >= seconds * (told + 1) / (errors + 1):
                begins = time.monotonic()
                sender.sendall(uncorrected(told))
                print(json.dumps({"error": told, "began": begins, "took": time.monotonic() - begins}), flush=True)
                told += 1
            due = int(now * rate) - sent
            if due < step:
                time.sleep((step - due) / rate)
                continue
            reports = storm.next(min(due, step))
            sender.sendall(reports)
            sent += len(reports) // BYTES
        took = time.monotonic() - began
    print(json.dumps({"sent": sent + told, "took": took}), flush=True)


# --- the service ------------------------------------------------------------------------------------------------------


OUTLETS: Final = """
[http]
enabled = true
listen = ["{directory}/http.sock"]
[[webhook]]
name = "bench"
url = "http://127.0.0.1:{port}/"
events = ["*"]
allow-http = true
[textfile]
path = "{directory}/metrics.prom"
interval-s = 1
"""


@dataclass(slots=True)
class Outlets:
    """Those who listen to the service: a webhook's receiver, one who follows events, one who asks for the metrics."""

    directory: Path
    posts: int = 0
    streamed: int = 0
    asked: int = 0
    over: bool = False
    _server: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def configuration(self) -> Path:
        """The service's configuration, with all of them on."""
        path = self.directory / "bench.toml"
        path.write_text(OUTLETS.format(directory=self.directory, port=self._server.getsockname()[1]))
        return path

    def begin(self) -> None:
        """Listen, each in a thread, until the process ends."""
        for each in (self._receive, self._follow, self._ask):
            threading.Thread(target=each, daemon=True).start()

    def _receive(self) -> None:
        """Take each POST (one on a connection) and say that it was heard."""
        while True:
            client, _ = self._server.accept()
            with client, client.makefile("rb") as file, suppress(OSError):
                length = 0
                while (line := file.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                file.read(length)
                client.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                self.posts += 1

    def _get(self, path: str) -> Iterator[bytes]:
        """The lines of an answer, as they come."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(self.directory / "http.sock"))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            with client.makefile("rb") as file:
                yield from file

    def _follow(self) -> None:
        with suppress(OSError):
            for line in self._get("/api/v1/events/stream"):
                self.streamed += line.startswith(b"id:")

    def _ask(self) -> None:
        while not self.over:
            with suppress(OSError):
                self.asked += any(line.startswith(b"ringfence_") for line in self._get("/metrics"))
            time.sleep(1)


@contextmanager
def service(directory: Path, *sources: str, config: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A ``ringfence run`` on a state directory, from when it listens until it has ended."""
    words = [word for source in sources for word in ("--source", source)]
    command = [RINGFENCE, "run", "--hypervisor", "model", "--state-dir", str(directory), *words]
    command += ["--config", str(config)] if config is not None else []
    with (directory / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors)
    try:
        end = time.monotonic() + START_S
        while not (directory / "control.sock").exists() or not (directory / "in").exists():
            if time.monotonic() > end or process.poll() is not None:
                raise SystemExit(f"the service does not start: {(directory / 'stderr').read_text()}")
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def status(directory: Path) -> dict[str, int]:
    """The service's health, as ``ringfence status --json`` gives it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(directory / "control.sock"))
        client.sendall(b'{"request":"status","version":1}\n')
        line = b""
        while not line.endswith(b"\n"):
            line += client.recv(1 << 16)
    found: dict[str, int] = json.loads(line)
    return found


def peak_kb(pid: int) -> int:
    """The greatest resident memory that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def cpu_s(pid: int) -> float:
    """The CPU time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Watched:
    """What is seen of the service from outside, while it goes on."""

    answers_s: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    journaled: dict[int, float] = field(default_factory=dict)
    acted: dict[int, float] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self, directory: Path) -> None:
        """Ask for the status, ten times a second."""
        while not self.done.wait(0.1):
            began = time.monotonic()
            status(directory)
            self.answers_s.append(time.monotonic() - began)

    def read(self, journal: Path) -> None:
        """Look for the uncorrected errors, and for the end of what is done about each, in the journal's file."""
        after, cases = 0, dict[CaseId, int]()
        with Reader(journal) as reader:
            while not self.done.wait(LOOK_S):
                for number, event in reader.events(after, kinds=(ev.Received, ev.Progressed)):
                    after = number
                    now = time.monotonic()
                    if isinstance(event, ev.Received) and event.urgent and event.case is not None:
                        cases[event.case] = len(cases)
                        self.journaled[cases[event.case]] = now
                    elif isinstance(event, ev.Progressed) and event.ended and event.case in cases:
                        self.acted.setdefault(cases[event.case], now)


def counted(beside: subprocess.Popen[str], shares: list[float]) -> None:
    """The CPU time that a process has had, in each second."""
    before = 0.0
    assert beside.stdout is not None
    for line in beside.stdout:
        shares.append(float(line) - before)
        before = float(line)


def in_journal(journal: Path) -> int:
    """How many reports the journal's events are of, counted anew."""
    with Reader(journal) as reader:
        return sum(
            each.reports if isinstance(each, ev.Repeated) else 1
            for _, each in reader.events(kinds=(ev.Received, ev.Repeated))
            if isinstance(each, ev.Received | ev.Repeated)
        )


# --- the measurement --------------------------------------------------------------------------------------------------


def average(values: list[float]) -> float:
    """0 for none."""
    return sum(values) / len(values) if values else 0.0


def measure(asked: argparse.Namespace, directory: Path) -> bool:
    """One storm; whether all goals were met."""
    watched, idle, busy = Watched(), list[float](), list[float]()
    journal = directory / "journal.sqlite"
    outlets = Outlets(directory) if asked.outlets else None
    config = outlets.configuration if outlets is not None else None
    with service(directory, f"socket:{directory / 'in'}", config=config) as process:
        if outlets is not None:
            outlets.begin()
        beside = subprocess.Popen([sys.executable, "-c", COUNTING], stdout=subprocess.PIPE, text=True)
        shares = idle if not asked.quiet else []
        reading = threading.Thread(target=counted, args=(beside, shares), daemon=True)
        reading.start()
        time.sleep(4)
        idle_share = average(idle[1:])
        at_start = len(idle)
        threads = [
            threading.Thread(target=watched.ask, args=(directory,), daemon=True),
            threading.Thread(target=watched.read, args=(journal,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        before_s = cpu_s(process.pid)
        words = [str(directory / "in"), str(asked.rate), str(asked.seconds), str(asked.errors), asked.spread]
        sender = subprocess.run(
            [sys.executable, "-m", "bench.storm", "send", *words], capture_output=True, text=True, check=True
        )
        busy = idle[at_start + 1 :]
        lines = [json.loads(line) for line in sender.stdout.splitlines()]
        end = time.monotonic() + SETTLE_S
        sent = lines[-1]["sent"]
        while (found := status(directory))["received"] < sent and time.monotonic() < end:
            time.sleep(0.05)
        settled_s = SETTLE_S - (end - time.monotonic())
        took_s = cpu_s(process.pid) - before_s
        watched.done.set()
        if outlets is not None:
            outlets.over = True
            print(
                f"outlets: {outlets.posts} posts, {outlets.streamed} of the stream, {outlets.asked} times the metrics"
            )
        beside.kill()
        beside.wait()
        memory_kb = peak_kb(process.pid)
        for thread in threads:
            thread.join(5)
    errors = lines[:-1]
    return report(
        asked,
        sent=sent,
        rate=sent / lines[-1]["took"],
        cpu_share=took_s / (lines[-1]["took"] + settled_s),
        settled_s=settled_s,
        journaled_ms=[(watched.journaled.get(each["error"], 1e9) - each["began"]) * 1e3 for each in errors],
        acted_ms=[(watched.acted.get(each["error"], 1e9) - each["began"]) * 1e3 for each in errors],
        memory_kb=memory_kb,
        answers_s=watched.answers_s,
        shares=(idle_share, average(busy)),
        found=found,
        kept=in_journal(journal),
        bytes_kept=sum(each.stat().st_size for each in directory.glob("journal.sqlite*") if "reserve" not in each.name),
    )


def report(  # noqa: PLR0913 (one argument a fact)
    asked: argparse.Namespace,
    *,
    sent: int,
    rate: float,
    cpu_share: float,
    settled_s: float,
    journaled_ms: list[float],
    acted_ms: list[float],
    memory_kb: int,
    answers_s: list[float],
    shares: tuple[float, float],
    found: dict[str, int],
    kept: int,
    bytes_kept: int,
) -> bool:
    """Print what was measured; whether all goals were met."""
    lost = found["lost_urgent"] + found["lost_nonurgent"]
    idle, busy = shares
    share = busy / idle if idle else 1.0
    goals = [
        ("journaled, worst ms", max(journaled_ms), GOAL_MS, max(journaled_ms) <= GOAL_MS),
        ("acted on, worst ms", max(acted_ms), GOAL_MS, max(acted_ms) <= GOAL_MS),
        ("peak memory, kB", memory_kb, GOAL_MEMORY_KB, memory_kb < GOAL_MEMORY_KB),
        ("slowest answer, s", max(answers_s), GOAL_ANSWER_S, max(answers_s) < GOAL_ANSWER_S),
        ("sent, not counted", sent - found["received"] - lost, 0, sent == found["received"] + lost),
        ("counted, not in the journal", found["received"] - kept, 0, kept == found["received"]),
    ]
    if not asked.quiet:
        goals.append(("share of a process beside it", share, GOAL_SHARE, share >= GOAL_SHARE))
    load = os.getloadavg()[0]
    print(f"{sent} reports of a broken {asked.spread}, {rate:,.0f} a second; load of the machine {load:.1f}")
    print(f"together {found['together']}, of which by number and page only {found['summed']}; lost {lost}")
    print(f"service: {cpu_share:.2f} of a CPU; all written {settled_s:.1f} s after the last one was sent")
    print(f"journal: {found['journal_events']} events, {bytes_kept / 1e6:.1f} MB, {bytes_kept / sent:.1f} B a report")
    print(
        "uncorrected, ms to journaled / acted on:",
        *(f"{a:.0f}/{b:.0f}" for a, b in zip(journaled_ms, acted_ms, strict=True)),
    )
    print(f"{'':<30}{'measured':>12}{'goal':>10}")
    for name, value, goal, met in goals:
        print(f"{name:<30}{value:>12,.1f}{goal:>10,.1f}  {'met' if met else 'MISSED'}")
    return all(met for *_, met in goals)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=100_000, help="reports a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--errors", type=int, default=5, help="uncorrected ones in the midst")
    parser.add_argument("--spread", choices=SPREADS, default="bank")
    parser.add_argument("--quiet", action="store_true", help="no process that computes beside it")
    parser.add_argument("--outlets", action="store_true", help="HTTP, a webhook and the metrics' file are on, and used")
    asked = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="rf-"))
    try:
        return 0 if measure(asked, directory) else 1
    finally:
        with suppress(OSError):
            shutil.rmtree(directory)


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
        sys.exit(0)
    sys.exit(main())
