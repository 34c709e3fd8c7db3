"""The reference page of what has been shown where: the concept's rows down, the hosts across."""

from __future__ import annotations

from docs.concept_pages import Page, Table
from lab.rows import IMPOSSIBLE, KVM, XEN, shown
from ringfence.decision.rows import MEANINGS, Row

MODEL_TEST = "test_the_demo_passes_every_row_of_the_concept"
"""In tests/cli/test_host_commands.py: on the model each row is gone through, and the test fails if one is not."""


def rows(page: Page, table: Table) -> str:
    """The page: a cell says shown, with the test's name; impossible, and why; or not yet."""
    kept = shown()
    lines = (
        (str(row), MEANINGS[row].condition, f"`{MODEL_TEST}`", *(_cell(kept, host, row) for host in (XEN, KVM)))
        for row in Row
    )
    return page(
        "What has been shown where",
        "The rows of the concept ([concept.md](concept.md)), and for each host the tests that went through them."
        f" The model's column is one test that fails if a row is not reached. Those of {XEN} and {KVM} are the tests of"
        " the lab ([lab.md](../lab.md)) that passed on real hypervisors, written down by"
        " `python -m lab keep-rows`. *Impossible* is what that host takes away, not what is missing here.",
        [table(("row", "condition", "model", XEN, KVM), lines)],
    )


def _cell(kept: dict[str, dict[Row, list[str]]], host: str, row: Row) -> str:
    if tests := kept.get(host, {}).get(row):
        return "<br>".join(f"`{each}`" for each in tests)
    because = IMPOSSIBLE[host].get(row)
    return "not yet" if because is None else f"*impossible*: {because}"
