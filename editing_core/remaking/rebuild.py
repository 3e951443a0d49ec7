"""``python -m editing_core.remaking.rebuild``: a version made anew from the original model, its edits and stored z.

Into an empty folder, which becomes a store of its own; with other settings where they are given. Knows no environment:
that is ``errata rebuild``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from editing_core.remaking.options import parse, run, task_of
from editing_core.remaking.reports import print_rebuilt

_DESCRIPTION = (
    "Solve a version anew from the original model, its list of edits and the stored z, check it, and write it as a new "
    "store. On the same kind of machine with the same number of threads it has the same digest; otherwise the"
    " difference is told. With --layers, --prior-weight or --clamp this is how settings change."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the store is written, 1 when its checks failed, 2 for input that makes no sense."""
    parser = argparse.ArgumentParser(prog="errata rebuild", description=_DESCRIPTION)
    parser.add_argument("--model", help="where the store's model is now (default: where it was)")
    parser.add_argument(
        "--without-targets", action="store_true", help="search every z anew, and use none that is stored"
    )
    parser.add_argument(
        "--new-statistics",
        action="store_true",
        help="make the statistics from the text given, even where the store has those of the version",
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
