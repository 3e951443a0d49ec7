"""Opens an editor: the constants of a model, its artefacts, and the folder that keeps the z files.

The worker, ``errata evaluate``, ``errata rebuild`` and the Python package ``errata`` all open their editors here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.covariance.corpus import Corpus
from editing_core.covariance.defaults import TEXT_COLUMN, corpus_for
from editing_core.covariance.prepare import PrepareOptions, prepare
from editing_core.covariance.prepare import Progress as PrepareProgress
from editing_core.editor.editor import JointEditor
from editing_core.memit.config import MemitConfig, SolveOverrides, configure, preset
from editing_core.models.load import LoadedModel
from editing_core.versions.layout import StoreLayout
from editing_core.versions.target_files import TargetFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class EditorOptions(SolveOverrides):
    """The choices that change an editor's results. None means the model's own value."""

    corpus: tuple[Path, ...] = ()
    """Text files for the statistics. The demo models have their own."""
    dataset: str | None = None
    """Dataset to read instead of ``corpus``."""
    text_column: str = TEXT_COLUMN
    statistics: Path | None = None
    """Folder of published second moments to read instead of computing them from text."""
    num_tokens: int | None = None
    context_seed: int | None = None
    """Seed of the contexts; None: 0."""


MakeArtefacts = Callable[[PrepareOptions], ModelArtefacts]
"""Returns the artefacts for these choices, if they do not come from ``prepare``."""


def open_editor(
    loaded: LoadedModel,
    options: EditorOptions,
    *,
    root: Path,
    base: MemitConfig | None = None,
    corpus: Corpus | None = None,
    make_artefacts: MakeArtefacts | None = None,
    on_progress: PrepareProgress = lambda what, done, total: None,
) -> JointEditor:
    """Read or compute the model's artefacts under ``root``, and return its editor.

    ``base``: constants to which the options are applied; None: the model's preset. ``corpus``: text that is already
    open; None: the text that the options name. Raises InvalidSettings and StoreDamaged.
    """
    config = config_of(loaded, options, base=base)
    layout = StoreLayout(root)
    wanted = PrepareOptions(
        layers=config.layers,
        num_tokens=options.num_tokens,
        context_seed=options.context_seed or 0,
        statistics=options.statistics,
    )
    if make_artefacts is None:
        text = corpus or corpus_of(loaded.source, options)
        artefacts = prepare(loaded, text, wanted, root=layout.artefacts_dir, on_progress=on_progress)
    else:
        artefacts = make_artefacts(wanted)
    return JointEditor(loaded=loaded, artefacts=artefacts, config=config, targets=TargetFiles(layout.targets_dir))


def config_of(loaded: LoadedModel, options: EditorOptions, *, base: MemitConfig | None = None) -> MemitConfig:
    """Return the constants for a model: ``base`` or its preset, with the options applied. Raises InvalidSettings."""
    num_layers = loaded.family.num_layers(loaded.model)
    if base is None:
        base = preset(loaded.family.model_type, num_layers=num_layers, hidden_size=loaded.hidden_size)
    return configure(base, num_layers=num_layers, overrides=options)


def corpus_of(model: str, options: EditorOptions) -> Corpus:
    """Return the text that the options name, or that of a demo model. Raises InvalidSettings if there is none."""
    return corpus_for(model, options.corpus, dataset=options.dataset, text_column=options.text_column)
