"""Chooses the text for a model's artefacts: the user's text, or the text that ships with a demo model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from editing_core.covariance.corpus import Corpus
from editing_core.covariance.dataset import open_dataset
from editing_core.covariance.text_files import TextFiles, open_text_files
from editing_core.demo.models import DemoModel, demo_corpus_path, demo_heldout_path
from editing_core.errors import InvalidSettings

TEXT_COLUMN = "text"


def corpus_for(
    model: str, files: Sequence[Path] | None, *, dataset: str | None = None, text_column: str = TEXT_COLUMN
) -> Corpus:
    """Return the corpus of ``files`` or of ``dataset``. If neither is given, return the text of a demo model.

    Raises InvalidSettings if another model has no text, or if both files and a dataset are given.
    """
    if files and dataset:
        raise InvalidSettings(
            "text comes from files or from a dataset: give one of ERRATA_CORPUS and ERRATA_DATASET"
            " (--corpus, --dataset)"
        )
    if files:
        return open_text_files(files)
    if dataset:
        return open_dataset(dataset, column=text_column)
    if model in get_args(DemoModel):
        return TextFiles((demo_corpus_path(),), heldout_files=(demo_heldout_path(),))
    raise InvalidSettings(
        f"model {model!r} needs text for its statistics: give --corpus FILE (ERRATA_CORPUS) or --dataset NAME"
        " (ERRATA_DATASET), ordinary text like that which the model was trained on; a few megabytes do"
    )
