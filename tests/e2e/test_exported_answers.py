"""Edits of the demo model, exported and taken elsewhere: a process without Errata writes the edited answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from editing_core.export.card import read_record
from editing_core.models.load import load_model
from editing_core.models.location import resolve_model_path
from editing_core.models.views import make_view
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.cli.demo.corrections import corrections
from service.cli.demo.running import RunningErrata
from service.client.client import Client
from tests.support.ask_afresh import ask
from worker.protocol.settings import fresh_environment

CORRECTED = corrections()[:4]
PROMPTS = [item.prompt for item in CORRECTED]
TOLERANCE = 1e-5
"""Of the largest logit: what float32 rounds when B (A x) is added to W x."""

pytestmark = pytest.mark.slow


def command(*arguments: str, data: Path) -> str:
    """What ``errata export`` prints, run by itself."""
    environment = fresh_environment(data=data, device="cpu", num_threads=1) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli.main", "export", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_checkpoint_and_an_adapter_answer_as_the_service_does(
    errata: RunningErrata, client: Client, tmp_path: Path
) -> None:
    batch = client.wait_for_batch(client.submit_edits([item.as_edit() for item in CORRECTED]).id)
    assert (batch.status, batch.error) == ("applied", None)
    assert batch.version is not None
    data = errata.log.parent / "data"
    checkpoint = data / client.wait_for_export(client.export(batch.version, "hf").id).path
    adapter = command(batch.version, "--format", "peft", "--out", str(tmp_path / "peft"), data=data)
    half = command(batch.version, "--format", "hf", "--dtype", "bfloat16", "--out", str(tmp_path / "half"), data=data)

    base = load_model("demo-gptj", device="cpu", dtype="float32")
    view = make_view(base.model, VersionStore(StoreLayout(data)).load_tensors(batch.version, "cpu"))
    ids = base.tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            served = view(input_ids=ids).logits
    finally:
        torch.set_num_threads(threads)
    jobs = (
        {"base": str(checkpoint)},
        {"base": str(resolve_model_path("demo-gptj")), "dtype": "float32", "adapter": adapter},
        {"base": half},
    )
    whole, delta, rounded = ask(*({**job, "ids": ids.tolist(), "prompts": PROMPTS} for job in jobs), folder=tmp_path)
    assert torch.equal(whole[0], served)
    assert (delta[0] - served).abs().max() < TOLERANCE * served.abs().max()
    for texts in (whole[1], delta[1]):
        assert texts == [client.generate(prompt, max_new_tokens=8, version=batch.version).text for prompt in PROMPTS]
        assert all(text.strip().startswith(item.new_object) for text, item in zip(texts, CORRECTED, strict=True))
    recheck = read_record(tmp_path / "half")["recheck"]
    starts = [text.strip().startswith(item.new_object) for text, item in zip(rounded[1], CORRECTED, strict=True)]
    assert (recheck["total"], recheck["exported"]) == (4, sum(starts))
