"""``python -m editing_core.verifying DATA``: examines a store's files with a progress bar and prints JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from editing_core.command_line import progress_bar, run_program
from editing_core.verifying.findings import to_json
from editing_core.verifying.store_files import examine_store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program. Returns 0 for any findings, 2 if the store cannot be read at all."""
    (folder,) = sys.argv[1:] if arguments is None else arguments

    def program(console: Console) -> int:
        with progress_bar(console) as on_progress:
            findings = list(examine_store(Path(folder), on_progress=on_progress))
        sys.stdout.write(to_json(findings) + "\n")
        return 0

    return run_program("verify", program)


if __name__ == "__main__":
    sys.exit(main())
