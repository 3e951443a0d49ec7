"""The search for z written as plainly as MEMIT.md states it: one edit at a time, full rows, the whole model.

The yardstick of the batched search, in tests and in benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, pad

from editing_core.memit.config import MemitConfig
from editing_core.memit.tokens import EditRows
from editing_core.models.load import LoadedModel


@dataclass(frozen=True)
class SerialTarget:
    target_H: Tensor
    num_losses: int


def serial_target(loaded: LoadedModel, edit: EditRows, config: MemitConfig) -> SerialTarget:
    """Search z of one edit by torch's own Adam over full forwards of the whole model."""
    ids_RT, lookups = _rows(edit)
    block = list(loaded.family.base_model(loaded.model).get_submodule(loaded.family.blocks).children())[
        config.target_layer
    ]
    compute = torch.promote_types(loaded.dtype, torch.float32)
    delta = torch.zeros(loaded.hidden_size, dtype=compute, requires_grad=True)
    start_h: list[Tensor] = []
    start_kl: list[Tensor] = []

    def add_delta(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        if not start_h:
            start_h.append(hidden[0, lookups[0]].detach().to(compute))
        for row, place in enumerate(lookups):
            hidden[row, place] = (hidden[row, place].to(compute) + delta).to(hidden.dtype)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    optimiser = torch.optim.Adam([delta], lr=config.learning_rate)
    step = 0
    handle = block.register_forward_hook(add_delta)
    try:
        for step in range(config.num_steps):
            log_probs = _log_probs(loaded, ids_RT, edit, lookups)
            if not start_kl:
                start_kl.append(log_probs[1].detach())
            nll = -log_probs[0].mean(1).mean()
            kl = config.kl_factor * kl_div(start_kl[0], log_probs[1], log_target=True, reduction="sum")
            loss = nll + kl + config.weight_decay * delta.norm() / start_h[0].norm() ** 2
            if loss < config.stop_loss or step == config.num_steps - 1:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            limit = config.clamp_factor * start_h[0].norm()
            if delta.norm() > limit:
                with torch.no_grad():
                    delta.mul_(limit / delta.norm())
    finally:
        handle.remove()
    return SerialTarget((start_h[0] + delta).detach(), step + 1)


def _rows(edit: EditRows) -> tuple[Tensor, list[int]]:
    rows = [(*row.ids, *edit.target[:-1]) for row in edit.prompts] + [edit.kl.ids]
    longest = max(len(row) for row in rows)
    ids = torch.stack([pad(torch.tensor(row), (0, longest - len(row))) for row in rows])
    return ids, [row.lookup for row in edit.prompts] + [edit.kl.lookup]


def _log_probs(loaded: LoadedModel, ids_RT: Tensor, edit: EditRows, lookups: list[int]) -> tuple[Tensor, Tensor]:
    """Log-probabilities of each rewriting row's targets, and of the guarding row at its look-up token."""
    base = loaded.family.base_model(loaded.model)
    hidden = base(input_ids=ids_RT, use_cache=False).last_hidden_state
    head = loaded.family.head_module(loaded.model)
    compute = torch.promote_types(loaded.dtype, torch.float32)
    told = []
    for row, prompt in enumerate(edit.prompts):
        at = hidden[row, len(prompt.ids) - 1 : len(prompt.ids) - 1 + len(edit.target)]
        told.append(log_softmax(head(at).to(compute), -1).gather(1, torch.tensor(edit.target)[:, None])[:, 0])
    guard = log_softmax(head(hidden[len(edit.prompts), lookups[-1]]).to(compute), -1)
    return torch.stack(told), guard
