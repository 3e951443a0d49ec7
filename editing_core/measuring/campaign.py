"""One evaluation, from model and records to figures: prepare, ask, edit all records jointly, ask again.

Knows no terminal: it reports progress by a callback and returns its results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from torch import nn

from editing_core.asking.perplexity import perplexity
from editing_core.covariance.corpus import Corpus
from editing_core.covariance.prepare import heldout_ids
from editing_core.editor.editor import JointEditor
from editing_core.editor.opening import EditorOptions, config_of, corpus_of, open_editor
from editing_core.edits import AcceptedEdit, conflicts
from editing_core.errors import InvalidEdit, InvalidSettings
from editing_core.formats.counterfact import CounterFactRecord
from editing_core.measuring.checkpoint import save_checkpoint
from editing_core.measuring.metrics import Metrics, evaluate_cases, summarise
from editing_core.models.load import LoadedModel, load_model
from editing_core.models.views import make_view

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """The model, the records and the options of one evaluation."""

    model: str
    records: tuple[CounterFactRecord, ...]
    data: Path
    options: EditorOptions = field(default_factory=EditorOptions)
    context_seeds: tuple[int, ...] = (0,)
    """The evaluation runs one editor for each seed. They replace the seed of ``options``."""
    device: str | None = None
    dtype: str | None = None
    save: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelScores:
    """The metrics and the perplexity of one model."""

    name: str
    metrics: Metrics
    perplexity: float
    """Perplexity on the held-out part of the corpus."""


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """Scores before the edits, and after them for each context seed."""

    title: str
    rows: tuple[ModelScores, ...]

    def mean_rows(self) -> tuple[ModelScores, ...]:
        """Return the mean over the context seeds, if there are several."""
        after = self.rows[1:]
        if len(after) < 2:  # noqa: PLR2004  a single row is its own mean
            return ()
        names = [item.name for item in fields(Metrics) if item.name != "num_cases"]
        means = {name: _mean([getattr(row.metrics, name) for row in after]) for name in names}
        metrics = Metrics(num_cases=after[0].metrics.num_cases, **means)  # type: ignore[arg-type]
        return (ModelScores("after, mean", metrics, sum(row.perplexity for row in after) / len(after)),)


def run_campaign(campaign: Campaign, *, on_progress: Progress = lambda what, done, total: None) -> CampaignResult:
    """Run the evaluation. Raises InvalidSettings and InvalidEdit."""
    corpus = corpus_of(campaign.model, campaign.options)
    if campaign.save is not None and campaign.save.exists():
        raise InvalidSettings(f"{campaign.save} exists already: choose a new folder for the edited model")
    on_progress("loading the model", 0, 1)
    loaded = load_model(campaign.model, device=campaign.device, dtype=campaign.dtype)
    config = config_of(loaded, campaign.options)
    live = accept_records(campaign.records)
    rows = [_row("before", loaded, loaded.model, campaign, corpus=corpus, on_progress=on_progress)]
    for seed in campaign.context_seeds:
        options = replace(campaign.options, context_seed=seed)
        editor = open_editor(loaded, options, root=campaign.data, corpus=corpus, on_progress=on_progress)
        _refuse_problems(editor, live)
        editor.compute_targets(live, live=live, on_progress=lambda done, total: on_progress("z", done, total))
        update = editor.build(live, on_progress=lambda done, total: on_progress("solve", done, total))
        view = make_view(loaded.model, update.weights)
        rows.append(_row(f"after, contexts {seed}", loaded, view, campaign, corpus=corpus, on_progress=on_progress))
        if campaign.save is not None and seed == campaign.context_seeds[-1]:
            save_checkpoint(loaded, update.weights, campaign.save)
    layers = f"{config.layers[0]}-{config.target_layer}"
    title = f"{campaign.model}, layers {layers}, λ {config.prior_weight:g}, clamp {config.clamp_factor:g}"
    return CampaignResult(title, tuple(rows))


def accept_records(records: Sequence[CounterFactRecord]) -> list[AcceptedEdit]:
    """Return the records as a live set. Raises InvalidEdit naming two that contradict each other."""
    edits = [record.edit for record in records]
    for first, second in conflicts(edits):
        raise InvalidEdit(
            f"records {first + 1} and {second + 1} give {edits[first].identity} two objects:"
            f" {edits[first].target_new!r} and {edits[second].target_new!r}"
        )
    return [
        AcceptedEdit(id=f"r{i:06}", edit=edit, batch="file", acceptance=1, created="1970-01-01T00:00:00Z")
        for i, edit in enumerate(edits)
    ]


def _refuse_problems(editor: JointEditor, live: Sequence[AcceptedEdit]) -> None:
    for edit_id, problem in editor.problems(live).items():
        raise InvalidEdit(f"record {int(edit_id[1:]) + 1}: {problem}")


def _row(
    name: str, loaded: LoadedModel, model: nn.Module, campaign: Campaign, *, corpus: Corpus, on_progress: Progress
) -> ModelScores:
    cases = [(record.edit, record.generation_prompts) for record in campaign.records]

    def report_progress(done: int, total: int) -> None:
        on_progress(f"asking {name}", done, total)

    results = evaluate_cases(model, loaded.tokenizer, cases, on_progress=report_progress)
    return ModelScores(name, summarise(results), perplexity(model, heldout_ids(loaded, corpus)))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
