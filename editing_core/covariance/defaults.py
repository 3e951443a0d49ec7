"""Which text a model's artefacts are made from when the user names none: for the demo models their own."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from editing_core.demo.models import DemoModel, demo_corpus_path, demo_heldout_path
from editing_core.errors import InvalidSettings


def default_corpus(model: str) -> tuple[Path, ...]:
    """The corpus of a demo model, its held-out text last; raises InvalidSettings for any other model."""
    if model in get_args(DemoModel):
        return demo_corpus_path(), demo_heldout_path()
    raise InvalidSettings(
        f"model {model!r} needs text for its statistics: give --corpus FILE (ERRATA_CORPUS), ordinary text like that"
        " which the model was trained on; a few megabytes do"
    )
