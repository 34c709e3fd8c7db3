"""The agent by itself: ``python3 -m ringfence.guest``, or the file that ``--pack`` writes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ringfence.guest.command import DESCRIPTION, EXITS, OPTIONS, Asked, run


def main(words: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser("ringfence guest", description=DESCRIPTION, epilog=EXITS)
    for each in OPTIONS:
        if each.metavar:
            parser.add_argument(f"--{each.name}", metavar=each.metavar, default=each.default, help=each.help)
        else:
            parser.add_argument(f"--{each.name}", action="store_true", help=each.help)
    return run(Asked(**vars(parser.parse_args(words))))


if __name__ == "__main__":
    sys.exit(main())
