"""The pages on what Ringfence tells others, and the message catalog, from the tables that it tells by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from docs.monitoring import ALERTS
from ringfence.service.configuration.outlets import MOST_WEBHOOKS
from ringfence.service.outlets import notices, post, signature, telling, webhook
from ringfence.service.outlets.cloud_event import CloudEvent, Data
from ringfence.service.outlets.topics import PREFIX, TOPICS
from ringfence.views.metrics import ROWS, TABLE, Metric

Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]
Page = Callable[[str, str, Iterable[str]], str]


_SCRAPE = """For Prometheus, with a token of `ringfence token create --name prometheus --scope read`:

```yaml
scrape_configs:
  - job_name: ringfence
    authorization:
      credentials_file: /etc/prometheus/ringfence.token
    static_configs:
      - targets: ["dom0-17.example:8473"]
rule_files: [ringfence.rules.yml]
```
"""


def metrics(page: Page, table: Table) -> str:
    """docs/metrics.md: which number means what."""
    return page(
        "Which number means what",
        "Ringfence shows the same numbers in four places: `ringfence metrics` prints them; `GET /metrics` gives them "
        "to Prometheus with a token that may read (`authorization: credentials_file:` in its scrape configuration; "
        "[http.md](http.md)); `[textfile]` writes them for node_exporter where nobody scrapes the service; and "
        "`packaging/grafana/ringfence.json` draws them. The text is Prometheus' (0.0.4), or OpenMetrics 1.0 where a "
        "client asks for it.\n\n"
        "A counter *since the journal began* goes on over restarts and over retention: it is part of what the journal "
        "amounts to. One *since the process began* starts at 0 with each start, as `rate()` and `increase()` expect. "
        "Series that can be named beforehand are there from 0 on; others appear with their first event. Labels are few "
        "by nature; names that come from evidence are bounded, and made legible. No metric has a page, a case or a "
        "person as a label: those are in `ringfence cases` and `ringfence events`.",
        [_SCRAPE, *(part for row in ROWS for part in _of_row(row, table)), *_alerts(table)],
    )


def _of_row(row: str, table: Table) -> Iterator[str]:
    yield f"## {row}\n"
    known = [each for each in TABLE if each.row == row]
    yield table(
        ("metric", "type", "covers", "meaning", "comes from", "look when"),
        (
            (
                "<br>".join(f"`{name}`" for name in _shown(each)), each.kind.value, each.since.value, each.meaning,
                each.comes_from, each.look,
            )
            for each in known
        ),
    )  # fmt: skip
    labels = [
        (f"`{each.series[0]}`", f"`{label.name}`", label.meaning, label.bound)
        for each in known
        for label in each.labels
    ]
    if labels:
        yield table(("metric", "label", "meaning", "values"), labels)


def _shown(metric: Metric) -> tuple[str, ...]:
    return metric.series


def _alerts(table: Table) -> Iterator[str]:
    yield (
        "## Alerts\n\n`packaging/prometheus/ringfence.rules.yml` has these. *page* wakes somebody, *ticket* can wait "
        "for the day.\n"
    )
    yield table(
        ("alert", "urgency", "fires when", "for", "do"),
        ((each.name, each.urgency, f"`{each.expression}`", each.holds, each.do) for each in ALERTS),
    )


# --- what is told -----------------------------------------------------------------------------------------------------

_ENVELOPE = {
    "specversion": "`1.0`",
    "id": "the journal's name, its number of the event, and which part of it is told; the same each time it is sent",
    "source": "`urn:uuid:` and a random number that names this host's Ringfence",
    "type": f"`{PREFIX}` and the topic",
    "time": "when it was written down",
    "subject": "`case/NUMBER`, if it is about a case",
    "datacontenttype": "`application/json`",
    "data": "see below",
}

_DATA = {
    "host": "the host's name",
    "number": "of the journal's event; for `health.*`, of the last one before it",
    "text": "what happened, in words",
    "priority": "syslog's: 2 critical, 3 error, 4 warning, 5 notice, 6 informational",
    "kind": "the kind of the journal's event ([journal.md](journal.md))",
    "case": "its case; `ringfence explain CASE` has all of it",
    "row": "the row of the concept ([concept.md](concept.md))",
    "severity": "the class of the error, or of the one that the case began with",
    "domain": "the number of the guest that it is about, if it is one",
    "domain_name": "that guest's name",
    "dimm": "the module, where the evidence names one",
    "details": "reasons and sums, a sentence each",
    "do": "what a person can do about it",
}


def topics(page: Page, table: Table) -> str:
    """docs/reference/topics.md: what is told, with its fields, and what the answers to it mean."""
    return page(
        "What is told",
        "What webhooks and systemd's journal are told ([webhooks.md](../webhooks.md)). The priority of a topic is the "
        "usual one; a killed guest, a fatal error or a hurt Dom0 weigh more. `MESSAGE_ID` never changes.",
        [
            "## Topics\n",
            table(
                ("topic", "meaning", "priority", "do", "MESSAGE_ID"),
                (
                    (
                        f"`{topic}`",
                        about.meaning,
                        f"{about.priority.value} {about.priority.name.lower()}",
                        about.do,
                        f"`{about.message_id}`",
                    )
                    for topic, about in TOPICS.items()
                ),
            ),
            "## A CloudEvent\n",
            _meanings(table, CloudEvent, _ENVELOPE),
            "## Its data\n\nFields that say nothing are left out.\n",
            _meanings(table, Data, _DATA),
            "## What an answer means\n",
            table(("answer", "what follows"), _answers()),
            "## Bounds\n",
            table(("bound", "value", "why"), _bounds()),
        ],
    )


def _meanings(table: Table, kind: type[msgspec.Struct], meanings: Mapping[str, str]) -> str:
    names = (each.encode_name for each in msgspec.structs.fields(kind))
    return table(("field", "meaning"), ((f"`{name}`", meanings[name]) for name in names))


def _answers() -> Iterator[tuple[str, str]]:
    yield "2xx", "taken; the next event is sent"
    yield "3xx", "not followed: where events go is said in the configuration alone; tried again"
    yield ", ".join(map(str, sorted(webhook.NEVER))), "the message itself is refused: passed over at once, and said so"
    yield "410", "nothing is sent any more until the service starts again"
    yield "any other", "tried again, for `give-up-h` hours; then passed over, and said so"
    yield "none", "the receiver is away: waited for, as long as the journal keeps what it has not heard"


def _bounds() -> Iterator[tuple[str, str, str]]:
    yield "receivers", str(MOST_WEBHOOKS), "each reads the journal by itself"
    yield (
        "seconds after the first failure",
        f"{webhook.FIRST_PAUSE_S:g}",
        "then doubled, half of it left to chance",
    )
    yield (
        "seconds that `Retry-After` is heeded",
        f"{webhook.LONGEST_RETRY_AFTER_S:g}",
        "asked again then",
    )
    yield "details of an event", str(notices.MOST_DETAILS), "a decision has about ten reasons"
    yield "characters of a text", str(notices.MOST_CHARACTERS), "longer ones are in the journal whole"
    yield "bytes of an answer's head", str(post.MOST_HEAD_BYTES), "a longer one is no answer"
    yield "bytes of an answer's body", str(post.MOST_BODY_BYTES), "read of an error only, for a person"
    yield "secrets of one receiver", str(signature.MOST_SECRETS), "the one in use, and the one before it"
    yield "seconds between two looks at health", f"{telling.HEALTH_S:g}", "what comes and goes between them is not told"


def catalog() -> str:
    """packaging/ringfence.catalog (systemd.io/CATALOG)."""
    lines = [
        "# Ringfence's messages for systemd's catalog: install in /usr/lib/systemd/catalog, then",
        "# journalctl --update-catalog. Generated by `python -m docs.generate` from service/outlets/topics.py.",
    ]
    for about in TOPICS.values():
        lines += ["", f"-- {about.message_id}", f"Subject: {about.subject}", "Defined-By: Ringfence", "", about.meaning]
        lines += ["", f"What to do: {about.do}"]
    return "\n".join(lines) + "\n"
