"""``python -m editing_core.verifying DATA``: examines a store's files with a progress bar, and prints JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from editing_core.covariance.command import progress_bar
from editing_core.errors import ErrataError
from editing_core.verifying.findings import to_json
from editing_core.verifying.store_files import examine_store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 whatever was found, 2 when the store cannot be read at all."""
    (folder,) = sys.argv[1:] if arguments is None else arguments
    console = Console(stderr=True)
    try:
        with progress_bar(console) as bar:
            line = bar.add_task("starting", total=None)
            findings = list(
                examine_store(
                    Path(folder),
                    on_progress=lambda what, done, total: bar.update(
                        line, description=what, completed=done, total=total
                    ),
                )
            )
    except (ErrataError, OSError) as error:
        console.print(f"errata verify: {error}", style="red", markup=False, highlight=False)
        return 2
    sys.stdout.write(to_json(findings) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
