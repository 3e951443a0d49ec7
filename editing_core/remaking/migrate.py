"""``python -m editing_core.remaking.migrate --to MODEL``: a version's edits solved on another model, as a new store.

Reports which took, which did not and why. Knows no environment: that is ``errata migrate``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from editing_core.remaking.options import parse, run, task_of
from editing_core.remaking.reports import print_migrated

_DESCRIPTION = (
    "Solve a version's edits on another model, check them there, and write them as a new store. Edits that the other "
    "tokenizer or context does not allow are named and left out. The statistics are made from --corpus or --dataset."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the store is written, 1 when its checks failed, 2 for input that makes no sense."""
    parser = argparse.ArgumentParser(prog="errata migrate", description=_DESCRIPTION)
    parser.add_argument(
        "--to", required=True, metavar="MODEL", help="Hugging Face id, folder, demo-gptj or demo-gptneox"
    )
    options = parse(parser, arguments)
    return run(
        lambda: task_of(options, model=options.to, with_targets=False, new_statistics=True),
        name="migrate",
        same_model=False,
        report=print_migrated,
        to=options.json,
    )


if __name__ == "__main__":
    sys.exit(main())
