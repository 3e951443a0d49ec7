"""``python -m editing_core.remaking.rebuild``: solves a version again from the original model, its edits and stored z.

Writes the version into an empty folder, which becomes a separate store. Options change the settings of the solve. Only
``errata rebuild`` reads the environment; this program does not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from editing_core.remaking.options import parse, run, task_of
from editing_core.remaking.reports import print_rebuilt

_DESCRIPTION = (
    "Solve a version again from the original model, its list of edits and the stored z, check it, and write it as a "
    "new store. On the same kind of machine with the same number of threads, the digest is the same; otherwise the "
    "difference is printed. Use --layers, --prior-weight, --clamp or --guard-weight to change a store's settings."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0 if the store is written, 1 if its checks failed, 2 for invalid input."""
    parser = argparse.ArgumentParser(prog="errata rebuild", description=_DESCRIPTION)
    parser.add_argument("--model", help="current location of the store's model (default: the recorded location)")
    parser.add_argument(
        "--without-targets", action="store_true", help="search every z again instead of using the stored ones"
    )
    parser.add_argument(
        "--new-statistics",
        action="store_true",
        help="compute the statistics from the given text even if the store has those of the version",
    )
    options = parse(parser, arguments)
    return run(
        lambda: task_of(
            options,
            model=options.model,
            with_targets=not options.without_targets,
            new_statistics=options.new_statistics,
        ),
        name="rebuild",
        same_model=True,
        report=print_rebuilt,
        to=options.json,
    )


if __name__ == "__main__":
    sys.exit(main())
