"""What was exported, loaded by the real libraries in a process of its own, is the version."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from editing_core.export.request import ExportRequest
from tests.support.ask_afresh import ask
from tests.support.exported import IDS, TinyVersion, logits, tiny_version
from tests.support.tiny_models import ALL_FAMILIES

TOLERANCE = 1e-5
"""Of the largest logit: float32 rounds W x + B (A x) otherwise than (W + B A) x; measured 3e-7."""
HF, PEFT = (ExportRequest(version="v1", format=form) for form in ("hf", "peft"))


@dataclass(frozen=True, slots=True)
class Asked:
    version: TinyVersion
    served: Tensor
    original: Tensor
    checkpoint: Tensor
    adapter: Tensor


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    """All families in one fresh process."""
    folder = tmp_path_factory.mktemp("families")
    versions = {family: tiny_version(folder / family, family) for family in ALL_FAMILIES}
    jobs = []
    for family, version in versions.items():
        version.exporter.export(HF, folder / family / "hf")
        version.exporter.export(PEFT, folder / family / "peft")
        jobs.append({"base": str(folder / family / "hf"), "ids": IDS.tolist()})
        adapter = str(folder / family / "peft")
        jobs.append({"base": str(version.model), "dtype": "float32", "adapter": adapter, "ids": IDS.tolist()})
    found = [answer for answer, _ in ask(*jobs, folder=folder)]
    return {
        family: Asked(version, version.logits(), logits(version.served().model), found[2 * i], found[2 * i + 1])
        for i, (family, version) in enumerate(versions.items())
    }


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_float32_checkpoint_answers_as_the_version_bit_for_bit(asked: dict[str, Asked], family: str) -> None:
    found = asked[family]
    assert torch.equal(found.checkpoint, found.served)
    assert not torch.equal(found.checkpoint, found.original)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_an_adapter_on_the_base_answers_as_the_version(asked: dict[str, Asked], family: str) -> None:
    found = asked[family]
    largest = found.served.abs().max()
    assert (found.adapter - found.served).abs().max() < TOLERANCE * largest
    assert (found.original - found.served).abs().max() > 0.1 * largest
