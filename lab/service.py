"""Ringfence as a service on a machine of the lab: started, killed, asked, and followed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lab.machine import Machine, wait
from lab.remote import Remote

STATE_DIR: Final = "/var/lib/ringfence"
POLICY: Final = "/etc/ringfence/policy.toml"
CONFIG: Final = "/etc/ringfence/lab.toml"
PID: Final = "/tmp/ringfence.pid"
EVENTS: Final = "/tmp/events.jsonl"
"""What ``ringfence events --follow`` prints: to start a Python for every look would take seconds under emulation."""
SERVICE_S: Final = 240.0
"""Until it answers: Python starts slowly under emulation."""
UNTIL_S: Final = 90.0
"""Until it has told something, where the two cores of the machine are wanted by others as well."""
ROUND_S: Final = 0.3
MANY: Final = 100_000

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """The service on one machine, and what it tells."""

    machine: Machine
    remote: Remote
    hypervisor: str

    def start(self, *, config: str = "", policy: str = "") -> None:
        """Start it, until it answers; what it tells is followed into a file. Raises LabError if it does not come up."""
        self.remote.must(f"mkdir -p /etc/ringfence; rm -f {STATE_DIR}/control.sock")
        self.remote.write(CONFIG, config.encode())
        self.remote.write(POLICY, policy.encode())
        self.restart()

    def restart(self) -> None:
        """Start it on the state, configuration and policy that are there."""
        run = (
            f"ringfence run --hypervisor {self.hypervisor} --state-dir {STATE_DIR} --config {CONFIG} --policy {POLICY}"
        )
        follow = f"ringfence events --follow --details --json --last {MANY} --state-dir {STATE_DIR}"
        begin = f"setsid sh -c 'echo $$ >{PID}; exec {run}' >>/tmp/ringfence.log 2>&1 </dev/null &"
        self.remote.must(f"rm -f {STATE_DIR}/control.sock; ({begin})")
        for _ in wait(SERVICE_S, "the service", lambda: self.remote.must("tail -c 2000 /tmp/ringfence.log")):
            if self.remote.run(["test", "-S", f"{STATE_DIR}/control.sock"]).code == 0:
                break
        self.remote.must(f"(setsid {follow} >{EVENTS} 2>&1 </dev/null &)")
        for _ in wait(SERVICE_S, "what it tells", lambda: self.remote.must("tail -c 2000 /tmp/ringfence.log")):
            if self.events():
                return

    def kill(self) -> None:
        """End it at once, as a crash would."""
        pid = self.pid
        self.remote.must(["kill", "-9", str(pid)])
        for _ in wait(SERVICE_S, "the service's end"):
            if self.remote.run(["test", "-d", f"/proc/{pid}/fd"]).code:
                return

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.remote.must(["cat", PID]))

    def obey(self, policy: str) -> None:
        """Have it go by another policy."""
        self.remote.write(POLICY, policy.encode())
        self.remote.must(["ringfence", "config", "reload", "--state-dir", STATE_DIR], timeout_s=SERVICE_S)

    def ask(self, *words: str) -> list[Event]:
        """What a command answers, as its JSON lines."""
        lines = self.remote.must(["ringfence", *words, "--state-dir", STATE_DIR, "--json"], timeout_s=SERVICE_S)
        return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]

    def events(self, after: int = 0) -> list[Event]:
        """The events of the journal after a number, in words, as they were told while it was followed."""
        lines = self.remote.must(["tail", "-n", f"+{after + 1}", EVENTS]).splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [each for each in found if each.get("number", 0) > after]

    @property
    def last(self) -> int:
        """The number of the journal's last event."""
        return max((each["number"] for each in self.events()), default=0)

    def until(self, text: str, after: int = 0, timeout_s: float = UNTIL_S) -> list[Event]:
        """The events after a number, once one of them says this."""
        return self.until_all(lambda found: any(text in each["text"] for each in found), repr(text), after, timeout_s)

    def until_all(
        self, is_it: Callable[[list[Event]], bool], what: str, after: int = 0, timeout_s: float = UNTIL_S
    ) -> list[Event]:
        """The events after a number, once they are so. Raises AssertionError with what was told instead."""
        end_s = time.monotonic() + timeout_s
        while True:
            found = self.events(after)
            if is_it(found):
                return found
            if time.monotonic() > end_s:
                raise AssertionError(f"the events are not so: {what}\n{told(found)}\n{self.machine.said()[-2000:]}")
            time.sleep(ROUND_S)


def rows(events: list[Event], kind: str) -> list[str]:
    """The concept's rows that the events of a kind name."""
    return [each["row"] for each in events if each["kind"] == kind]


def told(events: list[Event]) -> str:
    """Events as lines, for whoever reads why a test failed."""
    return "\n".join(f"{each['number']:>5} {each['kind']:>14} {each['row']:>12} {each['text']}" for each in events)
