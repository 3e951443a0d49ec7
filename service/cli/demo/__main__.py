"""Starts Errata on an empty folder, corrects some facts of the demo model, and rolls the corrections back.

Exit code 0: the demo behaved as expected. 1: it did not; the difference is printed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from service.cli.demo.running import running_errata
from service.cli.demo.story import tell
from service.cli.output import CommandFailed, complain, stdout
from service.client.client import Client
from service.client.errors import ErrataClientError
from worker.protocol.settings import fresh_environment


def main() -> int:
    """Run the demo and return the exit code."""
    console = stdout()
    folder = Path(tempfile.mkdtemp(prefix="errata-"))
    started = time.monotonic()
    try:
        _start_and_print(console, folder)
    except (CommandFailed, ErrataClientError) as error:
        print(f"errata demo: {error}", file=sys.stderr)
        complain(f"the demo did not hold; what its processes wrote is in {folder / 'log'}")
        return 1
    except KeyboardInterrupt:
        complain("interrupted; everything is stopped")
        return 130
    shutil.rmtree(folder, ignore_errors=True)
    console.print(f"\nAll of it held. It took {time.monotonic() - started:.0f} s; everything is stopped again.")
    console.print(
        "To use the page: `errata up --model demo-gptj`, then open http://127.0.0.1:8000/console in a browser."
    )
    return 0


def _start_and_print(console: Console, folder: Path) -> None:
    console.print("Starting Redis, the service and a worker on an empty folder …")
    environment = fresh_environment(model="demo-gptj", data=folder / "data", host="127.0.0.1", port=0)
    with (
        running_errata(environment, log=folder / "log") as running,
        Client(running.url, timeout_seconds=60.0) as client,
    ):
        console.print(f"Ready at {running.url}.\n")
        tell(client, console)
        console.print("\nStopping everything …")


if __name__ == "__main__":
    sys.exit(main())
