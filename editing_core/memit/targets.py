"""The search for z by gradient descent (MEMIT, Eqn. 16, with the public implementation's two extra terms).

Searches are independent and Adam is elementwise, so many share one graph whose loss is their sum; each stops on its
own, at the δ whose loss was read. Knows no files.
"""

# Dims: G groups (one δ each), E edits of a group, H hidden size.

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editing_core.memit.config import MemitConfig
from editing_core.memit.search_batch import GroupRows, SearchBatch, prepare_batch
from editing_core.models.load import LoadedModel

logger = logging.getLogger(__name__)

BETAS = (0.9, 0.999)
EPSILON = 1e-8
KEEP_WHOLE = 0.75
"""Share of a batch still searching under which the batch is cut down to those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The result of one search."""

    targets_EH: Tensor
    """z of each edit of the group, float32 or wider, on the CPU."""
    delta_H: Tensor
    loss: float
    """Loss at the returned δ."""
    nll: float
    num_losses: int


class _Adam:
    """torch.optim.Adam's arithmetic over rows that stop on their own."""

    def __init__(self, delta_GH: Tensor, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.first = torch.zeros_like(delta_GH)
        self.second = torch.zeros_like(delta_GH)
        self.num_steps = 0

    def step(self, delta_GH: Tensor, gradient_GH: Tensor) -> Tensor:
        self.num_steps += 1
        self.first.lerp_(gradient_GH, 1 - BETAS[0])
        self.second.mul_(BETAS[1]).addcmul_(gradient_GH, gradient_GH, value=1 - BETAS[1])
        spread = self.second.sqrt() / (1 - BETAS[1] ** self.num_steps) ** 0.5
        return delta_GH.addcdiv(
            self.first, spread.add_(EPSILON), value=-self.learning_rate / (1 - BETAS[0] ** self.num_steps)
        )

    def select(self, keep_G: Tensor) -> None:
        self.first, self.second = self.first[keep_G], self.second[keep_G]


def search_targets(
    loaded: LoadedModel,
    groups: Sequence[GroupRows],
    config: MemitConfig,
    *,
    batch_rows: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Target]:
    """Search z for every group, ``batch_rows`` rows at a time, packed by length; results in the order given.

    ``on_progress(done, total)`` counts edits and may raise to stop the work. A batch that does not fit into memory is
    halved, and a line in the log says so.
    """
    found: dict[int, Target] = {}
    total = sum(len(group.edits) for group in groups)
    for chosen in _batches(groups, batch_rows):
        batch_total = sum(len(groups[i].edits) for i in chosen)
        done = sum(len(groups[i].edits) for i in found)

        def tell(share: float, done: int = done, batch_total: int = batch_total) -> None:
            on_progress(done + int(share * batch_total), total)

        results = _search_or_halve(loaded, [groups[i] for i in chosen], config, tell)
        found.update(zip(chosen, results, strict=True))
    on_progress(total, total)
    return [found[i] for i in range(len(groups))]


def _batches(groups: Sequence[GroupRows], batch_rows: int) -> Iterator[list[int]]:
    batch: list[int] = []
    rows = 0
    for i in sorted(range(len(groups)), key=lambda i: (groups[i].longest, i)):
        if batch and rows + groups[i].num_rows > batch_rows:
            yield batch
            batch, rows = [], 0
        batch.append(i)
        rows += groups[i].num_rows
    if batch:
        yield batch


def _search_or_halve(
    loaded: LoadedModel, groups: Sequence[GroupRows], config: MemitConfig, tell: Callable[[float], None]
) -> list[Target]:
    try:
        return _search(loaded, groups, config, tell)
    except torch.OutOfMemoryError:
        if len(groups) == 1:
            raise
        half = len(groups) // 2
        logger.warning("a batch of %d searches does not fit into memory: going on with halves", len(groups))
    torch.cuda.empty_cache()
    return [
        *_search_or_halve(loaded, groups[:half], config, tell),
        *_search_or_halve(loaded, groups[half:], config, tell),
    ]


def _search(
    loaded: LoadedModel, groups: Sequence[GroupRows], config: MemitConfig, tell: Callable[[float], None]
) -> list[Target]:
    dtype = torch.float64 if loaded.dtype == torch.float64 else torch.float32
    batch, hidden = prepare_batch(loaded, groups, target_layer=config.target_layer, compute_dtype=dtype)
    delta = torch.zeros(len(groups), hidden[0].shape[-1], dtype=dtype, device=loaded.device)
    adam = _Adam(delta, config.learning_rate)
    searching = torch.arange(len(groups))
    results: dict[int, Target] = {}
    stopped = torch.zeros(len(groups), dtype=torch.bool, device=loaded.device)
    for step in range(config.num_steps):
        tell(len(results) / len(groups) + (1 - len(results) / len(groups)) * step / config.num_steps)
        batch, loss, nll, gradient = _losses(batch, delta, config)
        ends = ~stopped & ((loss < config.stop_loss) | torch.tensor(step == config.num_steps - 1, device=loss.device))
        for g in ends.nonzero().squeeze(1).tolist():
            own = int(searching[g])
            results[own] = _result(hidden[own], delta[g], loss=float(loss[g]), nll=float(nll[g]), num_losses=step + 1)
        stopped |= ends
        if bool(stopped.all()):
            break
        moved = _clamp(adam.step(delta, gradient), batch.hidden_norm_G, config.clamp_factor)
        delta = torch.where(stopped[:, None], delta, moved)
        if float((~stopped).float().mean()) < KEEP_WHOLE:
            keep = ~stopped
            batch, delta, searching = batch.select(keep), delta[keep], searching[keep.cpu()]
            adam.select(keep)
            stopped = stopped[keep]
    return [results[g] for g in range(len(groups))]


def _losses(batch: SearchBatch, delta_GH: Tensor, config: MemitConfig) -> tuple[SearchBatch, Tensor, Tensor, Tensor]:
    """The batch (with the starting distribution noted), loss [G], NLL [G] and gradient [G, H] at δ."""
    leaf = delta_GH.detach().requires_grad_()
    with torch.enable_grad():
        nll, now = batch.log_probabilities(leaf)
        if batch.start_GV is None:
            batch = _with_start(batch, now.detach())
        decay = config.weight_decay * _norm(leaf) / batch.hidden_norm_G**2
        loss = nll + config.kl_factor * batch.divergence(now) + decay
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return batch, loss.detach(), nll.detach(), gradient


def _with_start(batch: SearchBatch, start_GV: Tensor) -> SearchBatch:
    return replace(batch, start_GV=start_GV)


def _norm(delta_GH: Tensor) -> Tensor:
    return delta_GH.norm(dim=-1)


def _clamp(delta_GH: Tensor, hidden_norm_G: Tensor, clamp_factor: float) -> Tensor:
    norm = delta_GH.norm(dim=-1)
    limit = clamp_factor * hidden_norm_G
    return torch.where((norm > limit)[:, None], delta_GH * (limit / norm)[:, None], delta_GH)


def _result(hidden_EH: Tensor, delta_H: Tensor, *, loss: float, nll: float, num_losses: int) -> Target:
    return Target(
        targets_EH=(hidden_EH + delta_H).cpu(),
        delta_H=delta_H.cpu(),
        loss=loss,
        nll=nll,
        num_losses=num_losses,
    )
