"""Writes the parts of the documentation that the program itself knows: reference pages, schema, examples.

python -m docs.generate           writes them
python -m docs.generate --check   writes nothing; says which page is stale, and leaves with 1 if one is
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from docs import examples, reference_pages

ROOT = Path(__file__).resolve().parent.parent
PAGES_WITH_EXAMPLES = ("README.md", "docs/decode.md", "docs/differences.md", "docs/host.md")


def fresh() -> Iterator[tuple[Path, str]]:
    """Each page that is generated in whole or in part, as it should be now."""
    for name, write in reference_pages.PAGES.items():
        yield ROOT / name, write()
    for name in PAGES_WITH_EXAMPLES:
        path = ROOT / name
        yield path, examples.renewed(path.read_text(encoding="utf-8"))


def stale() -> Iterator[tuple[Path, str]]:
    """The pages that are not as they should be, with what they should hold."""
    for path, wanted in fresh():
        if not path.exists() or path.read_text(encoding="utf-8") != wanted:
            yield path, wanted


def main(arguments: list[str] | None = None) -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, say which page is stale")
    check = parser.parse_args(arguments).check
    found = 0
    for path, wanted in stale():
        found += 1
        name = path.relative_to(ROOT)
        if check:
            sys.stderr.write(f"{name} is stale: run python -m docs.generate\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
            sys.stdout.write(f"{name} written\n")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
