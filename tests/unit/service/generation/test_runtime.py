"""The start of generation: what it refuses to serve."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from editing_core.errors import StoreMismatch
from editing_core.models.load import load_model
from editing_core.versions.identity import bind_identity
from service.generation.runtime import GenerationRuntime
from tests.support.tiny_models import save_tiny_model
from worker.protocol.connections import connect
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.settings import Settings


def test_a_store_that_was_solved_in_another_dtype_is_refused_and_both_are_named(tmp_path: Path) -> None:
    source = str(save_tiny_model(tmp_path / "model", "gptj"))
    bind_identity(
        tmp_path / "data",
        model=load_model(source, device="cpu").fingerprint,
        model_source=source,
        settings="s",
        settings_values={"dtype": "bfloat16"},
    )
    settings = Settings(model=source, data=tmp_path / "data", device="cpu", dtype="float32")
    ledger = Ledger(connect("redis://127.0.0.1:1"), Keys("s"))
    with pytest.raises(StoreMismatch, match=r"bfloat16.*float32"):
        GenerationRuntime.start(settings, ledger, registry=CollectorRegistry())
