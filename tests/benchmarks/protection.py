"""The benefit and the cost of protected neighbours: ``python -m tests.benchmarks.protection [--out FOLDER]``.

100 edits of demo-gptj, each with up to ten neighbours (same relation, same old object). Half of the neighbours are
protected, the other half only asked, so that both can be compared. One line for each weight of a held key, and one for
the same edits without protection: the mean over three draws. Writes ``protection.md``.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from editing_core.asking.perplexity import perplexity
from editing_core.asking.scoring import score_targets
from editing_core.covariance.defaults import corpus_for
from editing_core.covariance.prepare import heldout_ids
from editing_core.demo.facts import load_facts, prompt_of
from editing_core.edits import AcceptedEdit, Edit, Neighbor
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from tests.benchmarks.hundred_edits import draw
from tests.benchmarks.measuring.machine import machine
from tests.benchmarks.workplace import Workplace, as_accepted, of_demo_model

SEEDS = (0, 1, 2)
WEIGHTS = (0.01, 0.05, 0.25, 1.0, 4.0)
NUM_NEIGHBORS = 10
RESULTS = Path(__file__).parent / "results"
COLUMNS = ("weight", "protected kept", "unprotected kept", "ES", "PS", "reliability", "perplexity", "held keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One solve of one draw."""

    protected: float
    """Share of the protected neighbours whose true object stays likelier than the edit's new one."""
    unprotected: float
    efficacy: float
    paraphrases: float
    reliability: float
    perplexity_rise: float
    num_held: float
    """Keys held."""


def main() -> int:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--data", type=Path, help="folder of the model's artefacts and z, to be used again")
    options = parser.parse_args()
    lines: dict[str, list[Line]] = {}
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        folder = options.data or Path(name)
        place = of_demo_model("demo-gptj", folder, 1)
        for seed in SEEDS:
            for weight, line in measure(place, folder / "z", seed):
                lines.setdefault(weight, []).append(line)
                print(seed, weight, line, flush=True)
    text = reported(lines)
    print(text)
    (options.out / "protection.md").write_text(text)
    return 0


def measure(place: Workplace, folder: Path, seed: int) -> Iterator[tuple[str, Line]]:
    """Without protection, then with each weight."""
    edits, others = halved(draw(seed), seed)
    plain = as_accepted(edits)
    place.editor(folder).compute_targets(plain, live=plain)
    heldout = heldout_ids(place.loaded, corpus_for("demo-gptj", None))
    base = perplexity(place.loaded.model, heldout)
    for weight in (None, *WEIGHTS):
        live = as_accepted([replace(edit, protect=weight is not None) for edit in edits])
        config = place.config if weight is None else replace(place.config, guard_weight=weight)
        editor = replace(place, config=config).editor(folder)
        view = make_view(place.loaded.model, editor.build(live).weights)
        viewed = replace(place.loaded, model=view)
        yield (
            "none" if weight is None else f"{weight:g}",
            Line(
                protected=kept(viewed, live, [edit.neighborhood for edit in edits]),
                unprotected=kept(viewed, live, others),
                efficacy=preferred(viewed, [(edit, (edit.filled_prompt,)) for edit in edits]),
                paraphrases=preferred(viewed, [(edit, edit.filled_paraphrases) for edit in edits]),
                reliability=reliability(viewed, edits),
                perplexity_rise=perplexity(view, heldout) / base - 1,
                num_held=len(editor.holding(live).rows),
            ),
        )


def halved(drawn: Sequence[Edit], seed: int) -> tuple[list[Edit], list[tuple[Neighbor, ...]]]:
    """The edits with every other neighbour, and of each edit the neighbours left out."""
    rng = random.Random(seed)
    edited = {edit.subject for edit in drawn}
    edits, others = [], []
    for edit in drawn:
        known = [
            fact
            for fact in load_facts()
            if (fact.relation, fact.object) == (edit.relation, edit.target_true) and fact.subject not in edited
        ]
        facts = rng.sample(known, min(NUM_NEIGHBORS, len(known)))
        neighbors = [Neighbor(prompt=prompt_of(fact, edit.prompt), target=fact.object) for fact in facts]
        edits.append(replace(edit, neighborhood=tuple(neighbors[::2])))
        others.append(tuple(neighbors[1::2]))
    return edits, others


def kept(loaded: LoadedModel, live: Sequence[AcceptedEdit], neighbors: Sequence[Sequence[Neighbor]]) -> float:
    """Of all these neighbours the share whose true object is likelier than their edit's new one."""
    pairs = [
        (neighbor.prompt, target or "")
        for row, own in zip(live, neighbors, strict=True)
        for neighbor in own
        for target in (neighbor.target, row.edit.target_new)
    ]
    scores = score_targets(loaded.model, loaded.tokenizer, pairs)
    both = zip(scores[::2], scores[1::2], strict=True)
    return fmean(float(true.mean_logprob > new.mean_logprob) for true, new in both)


def preferred(loaded: LoadedModel, cases: Sequence[tuple[Edit, Sequence[str]]]) -> float:
    """Mean over the edits that have such prompts of the share after which the new object is likelier than the old."""
    asked = [(edit, prompts) for edit, prompts in cases if prompts]
    pairs = [(p, target or "") for e, prompts in asked for p in prompts for target in (e.target_new, e.target_true)]
    scores = iter(score_targets(loaded.model, loaded.tokenizer, pairs))
    return fmean(
        fmean(float(next(scores).mean_logprob > next(scores).mean_logprob) for _ in prompts) for _, prompts in asked
    )


def reliability(loaded: LoadedModel, edits: Sequence[Edit]) -> float:
    """Share of the edits whose new object greedy decoding gives."""
    scores = score_targets(loaded.model, loaded.tokenizer, [(edit.filled_prompt, edit.target_new) for edit in edits])
    return fmean(float(score.greedy_match) for score in scores)


def reported(lines: dict[str, list[Line]]) -> str:
    """The table, with the model and the number of edits."""
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + "---:|" * len(COLUMNS)]
    for name, own in lines.items():
        shares = ("protected", "unprotected", "efficacy", "paraphrases", "reliability")
        cells = [f"{100 * fmean(getattr(line, share) for line in own):.1f} %" for share in shares]
        rise, num_held = (fmean(getattr(line, part) for line in own) for part in ("perplexity_rise", "num_held"))
        rows.append("| " + " | ".join([name, *cells, f"{rise:+.2%}", f"{num_held:.0f}"]) + " |")
    return "\n".join((
        "# Protected neighbours: 100 edits of demo-gptj",
        "",
        f"`python -m tests.benchmarks.protection`, mean of {len(SEEDS)} draws. {machine(torch.device('cpu'))}.",
        "",
        "Each edit has up to ten neighbours (same relation, same old object); half of them are protected. Kept: the",
        "true object is likelier than the edit's new one. `none`: the same edits, all neighbours only asked.",
        "",
        *rows,
        "",
    ))


if __name__ == "__main__":
    raise SystemExit(main())
