"""The search for z as the paper states it: one edit at a time, full rows, full forward passes of the whole model.

Read this to understand the search. ``editing_core.memit.targets`` gives the same results many times faster. Tests and
benchmarks compare the two. This one searches only single edits, not several edits about one subject.
"""

# Dims: R rows, T tokens, H hidden size.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, pad

from editing_core.memit.config import MemitConfig
from editing_core.memit.objective import clamp_delta, search_loss
from editing_core.memit.tokens import EditRows
from editing_core.models.load import LoadedModel
from editing_core.precision import search_dtype


@dataclass(frozen=True, slots=True)
class PlainTarget:
    """The result of one search."""

    target_H: Tensor
    """z = h + δ."""
    num_losses: int
    """Number of computed losses; the number of updates is one less."""


class _DeltaHook:
    """Adds δ to the target layer's output at every row's look-up token, and records h of the bare row."""

    def __init__(self, delta_H: Tensor, lookups: list[int]) -> None:
        self.delta_H, self.lookups = delta_H, lookups
        self.start_H: Tensor | None = None

    def __call__(self, _module: Any, _inputs: Any, output: Any) -> Any:
        hidden_RTH = (output[0] if isinstance(output, tuple) else output).clone()
        if self.start_H is None:
            self.start_H = hidden_RTH[0, self.lookups[0]].detach().to(self.delta_H.dtype)
        for row, place in enumerate(self.lookups):
            moved_H = hidden_RTH[row, place].to(self.delta_H.dtype) + self.delta_H
            hidden_RTH[row, place] = moved_H.to(hidden_RTH.dtype)
        return (hidden_RTH, *output[1:]) if isinstance(output, tuple) else hidden_RTH


def search_plainly(loaded: LoadedModel, edit: EditRows, config: MemitConfig) -> PlainTarget:
    """Search the z of one edit with torch's own Adam."""
    ids_RT, lookups = _rows(edit)
    family = loaded.family
    blocks = list(family.base_model(loaded.model).get_submodule(family.blocks).children())
    delta_H = torch.zeros(loaded.hidden_size, dtype=search_dtype(loaded.dtype), requires_grad=True)
    optimiser = torch.optim.Adam([delta_H], lr=config.learning_rate)
    hook = _DeltaHook(delta_H, lookups)
    start_V: Tensor | None = None
    handle = blocks[config.target_layer].register_forward_hook(hook)
    try:
        for step in range(1, config.num_steps + 1):
            log_probs_RO, now_V = _log_probs(loaded, ids_RT, edit, lookups)
            start_V = now_V.detach() if start_V is None else start_V
            assert hook.start_H is not None  # the forward pass has set it
            hidden_norm_G = hook.start_H.norm()[None]
            loss = search_loss(
                delta_H[None],
                nll_G=-log_probs_RO.mean(1).mean()[None],
                now_GV=now_V[None],
                start_GV=start_V[None],
                hidden_norm_G=hidden_norm_G,
                config=config,
            )
            if loss < config.stop_loss or step == config.num_steps:
                break
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
            with torch.no_grad():
                delta_H.copy_(clamp_delta(delta_H[None], hidden_norm_G, config.clamp_factor)[0])
    finally:
        handle.remove()
    assert hook.start_H is not None
    return PlainTarget((hook.start_H + delta_H).detach(), step)


def _rows(edit: EditRows) -> tuple[Tensor, list[int]]:
    """Return the rewriting rows and the row ``"{s} is a"``, padded on the right, and the places of look-up tokens."""
    rows = [(*row.ids, *edit.target[:-1]) for row in edit.prompts] + [edit.kl.ids]
    longest = max(len(row) for row in rows)
    ids_RT = torch.stack([pad(torch.tensor(row), (0, longest - len(row))) for row in rows])
    return ids_RT, [row.lookup for row in edit.prompts] + [edit.kl.lookup]


def _log_probs(loaded: LoadedModel, ids_RT: Tensor, edit: EditRows, lookups: list[int]) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of each rewriting row's target tokens, and of the next token in the row ``"{s} is a"``.

    The latter are those of the whole vocabulary after the subject.
    """
    base, head = loaded.family.base_model(loaded.model), loaded.family.head_module(loaded.model)
    hidden_RTH = base(input_ids=ids_RT, use_cache=False).last_hidden_state
    compute = search_dtype(loaded.dtype)
    target = torch.tensor(edit.target)[:, None]
    of_targets = []
    for row, prompt in enumerate(edit.prompts):
        first = len(prompt.ids) - 1
        logits = head(hidden_RTH[row, first : first + len(edit.target)])
        of_targets.append(log_softmax(logits.to(compute), -1).gather(1, target)[:, 0])
    after_subject = log_softmax(head(hidden_RTH[len(edit.prompts), lookups[-1]]).to(compute), -1)
    return torch.stack(of_targets), after_subject
