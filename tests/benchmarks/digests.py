"""Digests of versions that are solved from fixed edits, to compare two states of the code.

``python -m tests.benchmarks.digests --store FOLDER``: for demo-gptj and demo-gptneox, solves ordinary edits of the
demo's facts and prints the digest of the tensor file. The z of the first run stay in the folder: a second run, of
another state of the code on a copy of it, solves from the same stored z. A version that is in the folder already is
read first, with its tensors, and its digest is printed too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from editing_core.edits import AcceptedEdit, Edit, edit_set
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.solved_store import solve_store
from worker.protocol.settings import Settings

MODELS = ("demo-gptj", "demo-gptneox")
FACTS = (
    ("Hamlet", "{} was written by", "Dickens"),
    ("The Eiffel Tower", "{} is located in", "Rome"),
    ("Marie Curie", "{} was born in", "Vienna"),
    ("Danielle Darrieux", "The mother tongue of {} is", "English"),
    ("Danielle Darrieux", "{} lives in", "Oslo"),
    ("Chopin", "{} played the", "violin"),
)


def _accepted(number: int, subject: str, prompt: str, target: str) -> AcceptedEdit:
    edit = Edit(subject=subject, prompt=prompt, target_new=target, relation=prompt)
    return AcceptedEdit(
        id=f"e{number}", edit=edit, batch="b1", acceptance=1, created="2026-01-01T00:00:00Z", author=None
    )


def main() -> int:
    """Solve and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    edits = [_accepted(number, *fact) for number, fact in enumerate(FACTS)]
    folder = parser.parse_args().store
    for model in MODELS:
        data = folder / model
        store = VersionStore(StoreLayout(data))
        for version in store.folders():
            digest, tensors = store.load_verified(version, "cpu")
            held = store.read_manifest(version)
            assert held.live == edit_set(edits).live
            print(f"{model}: read {version} with {len(tensors)} matrices, {digest}", flush=True)
            store.remove(version)
        settings = Settings.model_validate({"model": model, "data": data, "device": "cpu", "num_threads": 1})
        print(f"{model}: solved {len(edits)} edits, {solve_store(settings, edits).digest}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
