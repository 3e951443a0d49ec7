"""Which text a model's artefacts are made from: the user's files, else, for the demo models, their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from editing_core.covariance.corpus import Corpus, open_corpus
from editing_core.demo.models import DemoModel, demo_corpus_path, demo_heldout_path
from editing_core.errors import InvalidSettings


def corpus_for(model: str, files: Sequence[Path] | None) -> Corpus:
    """The corpus of ``files``, or without any that of a demo model; raises InvalidSettings for any other model."""
    if files:
        return open_corpus(files)
    if model in get_args(DemoModel):
        return Corpus((demo_corpus_path(),), heldout_files=(demo_heldout_path(),))
    raise InvalidSettings(
        f"model {model!r} needs text for its statistics: give --corpus FILE (ERRATA_CORPUS), ordinary text like that"
        " which the model was trained on; a few megabytes do"
    )
