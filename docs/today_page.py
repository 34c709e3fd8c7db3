"""The reference page that compares the concept with Xen as it is: each cell of its table was run."""

from __future__ import annotations

from itertools import groupby

from docs.concept_pages import Page, Table
from ringfence.hypervisor.model.personality import BEHAVIOURS
from ringfence.hypervisor.model.platforms import PLATFORMS
from ringfence.service.comparison import SIDES, Row, Tally, compare, tally

_SOURCES = (
    "`xen/arch/x86/cpu/mcheck/mce.c` (what the #MC handler sees, what is fatal, whom it dismisses), `mce_intel.c` and"
    " `mce_amd.c` (what counts as recoverable, who handles it: on AMD nobody), `mcaction.c` (`mc_memerr_dhandler`: the"
    " page, its owner, the vMCE), `vmce.c` (`unmmap_broken_page`, `inject_vmce`) and `xen/common/page_alloc.c`"
    " (`offline_page`)"
)

_WORDS = (
    (
        "latent",
        "bad data was found on its way from a cache to memory; nobody has used it yet. A minute later the guest reads"
        " the page, if it was neither told of the error nor begun anew.",
    ),
    ("consumed", "a load ran into bad data: its instruction cannot be completed."),
    ("MCA", "the guest enabled MCA. *Handler*: a PV guest registered a synchronous one."),
    (
        "lives",
        "the guest runs on as it was. *Told*: by what reached it. *Killed*: it was ended untold; *dies*: it was told,"
        " and ended all the same.",
    ),
    (
        "page",
        "*out of use*: nobody gets it any more. *Unmapped*: nobody can reach it, and it is out of use as soon as its"
        " owner lets go of it. *Still in use*: the next read consumes the error.",
    ),
    (
        "Dom0",
        "*asked* before anything is decided about the guest; *told* afterwards. Of an error in a page of Dom0's own Xen"
        " tells Dom0's kernel, and takes nothing away from it.",
    ),
    (
        "host hangs",
        "nobody treats a consumed error, and the instruction ends in #MC each time it is tried: after a few rounds the"
        " model gives up. A real machine may do other work between two of them; what reads the page makes no progress.",
    ),
    ("nobody notices", "nothing was done, and nobody heard of it."),
    ("evidence kept", "a record survives the reset, in ERST."),
)


def today(page: Page, table: Table) -> str:
    """Every case on every side, and what each side comes to."""
    rows = compare()
    heads = ("case", *(side.says for side in SIDES))
    parts: list[str] = []
    for platform, group in groupby(rows, key=lambda row: row.case.platform):
        signature = PLATFORMS[platform].signature
        parts += [f"## {platform} ({signature.vendor})\n", table(heads, map(_cells, group))]
    parts += ["## In all\n", _in_all(table, tally(rows), rows)]
    parts += ["## Words\n", "\n".join(f"- **{word}**: {meaning}" for word, meaning in _WORDS) + "\n"]
    return page("The concept and today's Xen", _introduction(), parts)


def _introduction() -> str:
    blind = "; ".join(each.says for each in BEHAVIOURS.values() if not each.treats and not each.scans_on_machine_check)
    return (
        "What the concept gains over today. Each case was put to four model hosts (`ringfence compare` does it again),"
        " and each cell says what an observer saw of the machine afterwards: host, guests, page, what Dom0 could fetch."
        " In the first column Ringfence sits in the hypervisor's seat and in Dom0's, with the default policy. What Xen"
        f" does alone rests on its sources: {_SOURCES}. In some releases the #MC handler sees no bank at all ({blind})."
        " In every case Dom0 has an MCA event handler, and there is no second host to move guests to. That a toolstack"
        " starts a killed guest anew (`on_crash` of xl.cfg) is not part of the model."
    )


def _cells(row: Row) -> tuple[str, ...]:
    return row.case.says, *map(str, row.endings)


def _in_all(table: Table, tallies: tuple[Tally, ...], rows: tuple[Row, ...]) -> str:
    concept, *others = tallies
    must_halt = sum(row.case.must_halt for row in rows)
    counts = table(
        ("", *(each.side.says for each in tallies)),
        (
            (f"hosts that stand, of {concept.hosts} that need not halt", *(str(each.hosts_stand) for each in tallies)),
            (f"guests that live, of {concept.guests} on them", *(str(each.guests_live) for each in tallies)),
            ("guests that are restored or restarted", *(str(each.guests_renewed) for each in tallies)),
            ("guests that are lost, alone or with their host", *(str(each.guests_lost) for each in tallies)),
            ("errors that nobody notices", *(str(each.unseen) for each in tallies)),
            (f"hosts that run on, of {must_halt} that have to halt", *(str(each.ran_on) for each in tallies)),
        ),
    )
    gains = "; ".join(
        f"over {each.side.says} {concept.hosts_stand - each.hosts_stand} more hosts stand and"
        f" {each.guests_lost - concept.guests_lost} fewer guests are lost"
        for each in others
    )
    return f"{counts}\nThe concept's gain: {gains}.\n"
