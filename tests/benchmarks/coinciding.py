"""Which similarity of two keys predicts that their edits interfere: ``python -m tests.benchmarks.coinciding``.

300 edits of demo-gptj, solved together. For each edit: the unmet part of its residual, ‖z − h‖ / ‖δ‖ after the solve,
and the cosine of its key at the last edited layer with the nearest of another subject: raw, whitened by C, and in the
metric of the solve. Prints the rank correlation of each cosine with the unmet part, and the unmet part by bands of the
last. Writes ``coinciding.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from editing_core.asking.scoring import score_targets
from editing_core.editor.editor import JointEditor
from editing_core.edits import AcceptedEdit, normalise
from editing_core.memit.first_layer_inputs import KeptReads
from editing_core.memit.groups import subject_groups
from editing_core.memit.keys import KeySweep
from editing_core.memit.search.pool import Target
from editing_core.memit.update import Update
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from tests.benchmarks.hundred_edits import draw
from tests.benchmarks.measuring.machine import machine
from tests.benchmarks.protection import RESULTS
from tests.benchmarks.workplace import Workplace, as_accepted, of_demo_model

NUM_EDITS = 300
BANDS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Of each edit, [N]."""

    raw_N: Tensor
    whitened_N: Tensor
    solve_N: Tensor
    unmet_N: Tensor
    holds_N: Tensor
    nll_N: Tensor


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--data", type=Path, help="folder of the model's artefacts and z, to be used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        folder = options.data or Path(name)
        text = reported(measure(of_demo_model("demo-gptj", folder, 1), folder / "z"))
    print(text)
    (options.out / "coinciding.md").write_text(text)
    return 0


def measure(place: Workplace, folder: Path) -> Found:
    """Solve the edits and look at each."""
    live = as_accepted(draw(0, NUM_EDITS))
    editor = place.editor(folder)
    editor.compute_targets(live, live=live)
    update, solved = editor.build(live), editor.solved(live)
    view = make_view(place.loaded.model, update.weights)
    layer, searches = place.config.target_layer, editor.searches(live)
    keys_NM = update.layers[layer].keys_NM.double()
    subjects = [normalise(row.edit.subject) for row in solved]
    factor = torch.linalg.cholesky(place.artefacts.covariances[layer].double())
    whitened_NM = torch.linalg.solve_triangular(factor, keys_NM.T, upper=False).T
    scores = score_targets(view, place.loaded.tokenizer, [(r.edit.filled_prompt, r.edit.target_new) for r in solved])
    return Found(
        raw_N=_nearest(keys_NM, subjects),
        whitened_N=_nearest(whitened_NM, subjects),
        solve_N=torch.tensor([update.nearest[i][1] for i in range(len(solved))]),
        unmet_N=_unmet(place, editor, update, solved, searches),
        holds_N=torch.tensor([score.greedy_match for score in scores]),
        nll_N=torch.tensor([searches[row.id].nll for row in solved]),
    )


def _nearest(vectors_NX: Tensor, subjects: list[str]) -> Tensor:
    unit_NX = vectors_NX / vectors_NX.norm(dim=1, keepdim=True)
    cosines_NN = unit_NX @ unit_NX.T
    same_NN = torch.tensor([[one == other for other in subjects] for one in subjects])
    return cosines_NN.masked_fill(same_NN, -1.0).max(1).values


def _unmet(
    place: Workplace,
    editor: JointEditor,
    update: Update,
    solved: tuple[AcceptedEdit, ...],
    searches: dict[str, Target],
) -> Tensor:
    """‖z − h‖ / ‖δ‖ with h read on the new weights."""
    edited = LoadedModel(
        model=make_view(place.loaded.model, update.weights),
        tokenizer=place.loaded.tokenizer,
        family=place.loaded.family,
        source=place.loaded.source,
        path=place.loaded.path,
        fingerprint="edited",
        max_positions=place.loaded.max_positions,
    )
    rows = [editor.rows_of(row).prompts for row in solved]
    sweep = KeySweep(edited, rows, layers=place.config.layers, bare_weight=place.config.bare_weight, kept=KeptReads())
    _, hidden_NH = sweep.read(edited.model, place.config.layers[0])
    wanted = [searches[row.id] for row in solved]
    places = {row.id: i for group in subject_groups(solved) for i, row in enumerate(group.edits)}
    misses = [
        float((target.targets_EH[places[row.id]] - h).norm() / target.delta_H.norm())
        for row, target, h in zip(solved, wanted, hidden_NH, strict=True)
    ]
    return torch.tensor(misses)


def reported(found: Found) -> str:
    """Correlations and bands."""
    lines = [
        f"# Coinciding keys: {NUM_EDITS} edits of demo-gptj solved together",
        "",
        f"`python -m tests.benchmarks.coinciding`, seed 0. {machine(torch.device('cpu'))}.",
        "",
        "Rank correlation of an edit's largest cosine with another subject's key with the unmet part of its residual:",
        "",
        "| cosine | correlation | median | 90th percentile |",
        "|---|---:|---:|---:|",
    ]
    named = (("raw", found.raw_N), ("whitened by C", found.whitened_N), ("of the solve", found.solve_N))
    for name, values in named:
        low, high = (float(values.double().quantile(q)) for q in (0.5, 0.9))
        lines.append(f"| {name} | {_rank_correlation(values, found.unmet_N):.2f} | {low:.2f} | {high:.2f} |")
    lines += ["", "By bands of the cosine of the solve:", "", "| cosine | edits | unmet, median | reliability |"]
    lines.append("|---|---:|---:|---:|")
    for low, high in pairwise(BANDS):
        own = (found.solve_N >= low) & (found.solve_N < high)
        if own.any():
            unmet, reliability = float(found.unmet_N[own].median()), float(found.holds_N[own].float().mean())
            lines.append(f"| {low:.1f} to {min(high, 1.0):.1f} | {int(own.sum())} | {unmet:.2f} | {reliability:.0%} |")
    lines += ["", "By the loss (mean NLL of the target) at which the search for z ended:", ""]
    lines += ["| NLL | edits | reliability |", "|---|---:|---:|"]
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.69), (0.69, 2.0), (2.0, 1e9)):
        own = (found.nll_N >= low) & (found.nll_N < high)
        if own.any():
            share = float(found.holds_N[own].float().mean())
            lines.append(f"| {low:g} to {high:g} | {int(own.sum())} | {share:.0%} |")
    return "\n".join((*lines, ""))


def _rank_correlation(one: Tensor, other: Tensor) -> float:
    ranks = torch.stack([values.argsort().argsort().double() for values in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])


if __name__ == "__main__":
    raise SystemExit(main())
