"""``python -m editing_core.remaking.migrate --to MODEL``: solves a version's edits on another model, as a new store.

Reports the edits that hold, and the reason for each edit that does not. Only ``errata migrate`` reads the environment;
this program does not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from editing_core.remaking.options import parse, run, task_of
from editing_core.remaking.reports import print_migrated

_DESCRIPTION = (
    "Solve a version's edits on another model, check them there, and write them as a new store. Edits that the other "
    "tokenizer or context length does not allow are reported and left out. --corpus or --dataset gives the text for "
    "the statistics."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0 if the store is written, 1 if its checks failed, 2 for invalid input."""
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
