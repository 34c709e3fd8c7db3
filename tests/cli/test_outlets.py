"""The numbers and the test of a webhook, from the command line, of a service that runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.service.outlets.receivers import answers_with, receiver
from tests.service.processes import ASKING, PATIENCE_S, RINGFENCE, Service, service, until

CONFIGURATION = """
[system-journal]
enabled = false
[[webhook]]
name = "ops"
url = "{url}"
events = ["test"]
"""


def ringfence(running: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(RINGFENCE), *arguments, "--socket", str(running.socket)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def numbers(running: Service) -> dict[tuple[str, ...], float]:
    """Every counter that covers the journal's time, by name and labels."""
    done = ringfence(running, "metrics")
    assert (done.returncode, done.stderr) == (0, "")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(done.stdout)
        for sample in family.samples
    }


def test_numbers_are_those_of_status_and_cases_and_do_not_fall_over_a_kill() -> None:
    with service(scenario=ASKING) as running:
        running.start()
        until(running.approvals)
        health, before = running.health(), numbers(running)
        assert before["ringfence_up",] == 1
        assert before["ringfence_approvals_waiting",] >= 1
        assert before["ringfence_records_total",] >= health.received
        open_cases = sum(value for (name, *_), value in before.items() if name == "ringfence_cases_open")
        assert before["ringfence_cases_opened_total",] - before["ringfence_cases_closed_total",] == open_cases
        # Each turn that wrote, and what was asked for and wrote, the configuration that was loaded among it.
        turns = before["ringfence_turn_duration_seconds_count",]
        assert before["ringfence_decision_latency_seconds_count",] > turns > 0
        assert running.process is not None
        running.process.kill()
        running.process.communicate()
        running.start()
        after = numbers(running)
    since_process = ("ringfence_decision_latency", "ringfence_turn", "ringfence_outlet", "ringfence_clients")
    counters = [key for key in before if key[0].endswith("_total") and not key[0].startswith(since_process)]
    assert len(counters) > 80
    assert [key for key in counters if after[key] < before[key]] == []
    assert after["ringfence_starts_total",] == 2


def test_openmetrics_ends_as_it_must() -> None:
    with service() as running:
        running.start()
        assert ringfence(running, "metrics", "--openmetrics").stdout.endswith("# EOF\n")


def test_a_webhook_is_tried_out_by_the_service(tmp_path: Path) -> None:
    path = tmp_path / "ringfence.toml"
    with receiver(answers_with("200 OK"), answers_with("401 No", body="bad secret")) as to, service() as running:
        path.write_text(CONFIGURATION.format(url=to.url))
        running.start("--config", str(path))
        taken = ringfence(running, "webhook", "test", "ops")
        refused = ringfence(running, "webhook", "test", "ops", "--json")
        unknown = ringfence(running, "webhook", "test", "nobody")
        assert running.health().webhooks == ("ops",)
    assert (taken.returncode, taken.stdout.splitlines()[1].strip()) == (0, to.url)
    assert taken.stdout.startswith("taken after ")
    assert taken.stdout.splitlines()[0].endswith(" ms, not signed: it answers 200")
    found = json.loads(refused.stdout)
    assert (refused.returncode, found["status"], found["message"]) == (1, 401, "it answers 401: bad secret")
    assert unknown.returncode == 1
    assert "there is no webhook 'nobody'; there are: ops" in unknown.stderr


def test_without_a_service_it_is_said_so(tmp_path: Path) -> None:
    for arguments in (("metrics",), ("webhook", "test", "ops")):
        command = [str(RINGFENCE), *arguments, "--socket", str(tmp_path / "none")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == 3
        assert "the service is not running" in done.stderr
