"""Sixty edits, twenty of them taken out again in random order: as if they had never been made."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from editing_core.edits import Edit
from service.client.client import Client
from service.client.schemas import Batch
from tests.benchmarks.hundred_edits import draw

pytestmark = pytest.mark.slow

NUM_EDITS, NUM_OUT, SEED = 60, 20, 3
NUM_TOKENS = 4
"""Of an answer: enough for the object, which is what the edit is about."""
LEAST_AS_BEFORE = 0.95


def ended(client: Client, batch: Batch) -> Batch:
    done = client.wait_for_batch(batch.id)
    assert done.status == "applied", done.error
    return done


def answers(client: Client, edits: Sequence[Edit], *, version: str) -> list[str]:
    return [client.generate(edit.filled_prompt, max_new_tokens=NUM_TOKENS, version=version).text for edit in edits]


def taken(edits: Sequence[Edit], texts: Sequence[str]) -> list[bool]:
    return [text.strip().startswith(edit.target_new) for edit, text in zip(edits, texts, strict=True)]


def checks(client: Client, version: str) -> dict[str, Any]:
    found: dict[str, Any] = (client.version(version).model_extra or {})["checks"]
    return found


def test_taking_out_gives_the_original_answers_back_and_costs_the_others_nothing(client: Client) -> None:
    edits = draw(SEED, NUM_EDITS)
    full = ended(client, client.submit_edits([edit.to_json() for edit in edits])).version
    assert full is not None
    ids = {record.subject + record.prompt: record.id for record in client.edits(status="live")}
    places = random.Random(SEED).sample(range(NUM_EDITS), NUM_OUT)
    out, rest = [edits[i] for i in places], [edit for i, edit in enumerate(edits) if i not in places]
    before = taken(rest, answers(client, rest, version=full))
    assert sum(before) >= 0.8 * len(rest), "the edits took, or the rest of this test says nothing"

    last = None
    for edit in out:  # one by one, without waiting: ready ones go into a version together
        last = client.submit_edits([], remove=[ids[edit.subject + edit.prompt]])
    assert last is not None
    left = ended(client, last).version
    assert left is not None
    assert len(list(client.edits(status="live"))) == NUM_EDITS - NUM_OUT
    assert len(list(client.edits(status="taken_out"))) == NUM_OUT

    originals, now = answers(client, out, version="v0"), answers(client, out, version=left)
    as_before = sum(a == b for a, b in zip(originals, now, strict=True)) / NUM_OUT
    after = taken(rest, answers(client, rest, version=left))
    sys.stdout.write(
        f"{as_before:.0%} of {NUM_OUT} as before; of the rest {sum(before)} took before and {sum(after)} now\n"
    )
    assert as_before >= LEAST_AS_BEFORE
    assert not [edit.subject for edit, was, still in zip(rest, before, after, strict=True) if was and not still]
    drifts = [checks(client, version)["drift"] for version in (full, left)]
    sys.stdout.write(f"drift {drifts[0]:.4f} with all, {drifts[1]:.4f} without them\n")
    assert drifts[1] < drifts[0]

    everything = ended(client, client.submit_edits([], remove=[record.id for record in client.edits(status="live")]))
    assert everything.version is not None
    assert client.version(everything.version).digest == client.version("v0").digest
    assert answers(client, edits, version=everything.version) == answers(client, edits, version="v0")
