"""The searches that run together. Each stops on its own, at the last δ with a computed loss, and makes room.

Knows no memory limits and no files.
"""

# Dims: G groups (one δ each), E edits of a group, H hidden size.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress

import torch
from torch import Tensor
from torch.nn.functional import pad

from editing_core.memit.config import MemitConfig
from editing_core.memit.objective import clamp_delta, search_loss
from editing_core.memit.search.adam import Adam
from editing_core.memit.search.batch import SearchBatch, merged
from editing_core.memit.search.prepare import SearchModel, prepare_batch
from editing_core.memit.search.rows import GroupRows
from editing_core.precision import search_dtype

Prepare = Callable[..., tuple[SearchBatch, list[Tensor]]]
"""A function with the arguments and the result of ``prepare_batch``."""
REFILL_SHARE = 1 / 8
"""Share of the rows that must be free before waiting searches start. Preparing fewer rows at once is slow."""


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


class SearchPool:
    """The running searches, and those that wait for room."""

    def __init__(
        self,
        model: SearchModel,
        groups: Sequence[GroupRows],
        config: MemitConfig,
        waiting: deque[int],
        *,
        room: int,
        prepare: Prepare = prepare_batch,
        note: Callable[[int, Target], None],
    ) -> None:
        self.suspects: list[int] = []
        """Groups that left because of a non-finite number, either their own or that of another group in the batch."""
        self.active: list[int] = []
        """Indices of the groups in the batch, in the batch's order."""
        self._model, self._groups, self._config = model, groups, config
        self._waiting, self._room, self._note = waiting, room, note
        self._prepare = prepare
        loaded = model.loaded
        self._dtype = search_dtype(loaded.dtype)
        self._batch: SearchBatch | None = None
        self._hidden: list[Tensor] = []
        self._delta = torch.empty(0, loaded.hidden_size, dtype=self._dtype, device=loaded.device)
        self._adam = Adam(self._delta, config.learning_rate)
        self._steps: list[int] = []
        """Losses computed so far, per group."""

    @property
    def num_rows(self) -> int:
        """Number of rows of the groups in the batch."""
        return sum(self._groups[i].num_rows for i in self.active)

    def run(self, report: Callable[[float], None]) -> None:
        """Search until no search waits. ``report`` is called with the work done in the running searches, in edits."""
        self._admit()
        while self.active:
            report(
                sum(
                    len(self._groups[i].edits) * self._steps[n] / self._config.num_steps
                    for n, i in enumerate(self.active)
                )
            )
            self._keep(self._step())
            self._admit()

    def _step(self) -> Tensor:
        """Compute every loss, record the searches that end, and update the others. Returns those that continue, [G]."""
        assert self._batch is not None
        self._steps = [steps + 1 for steps in self._steps]
        last = [steps == self._config.num_steps for steps in self._steps]
        self._batch, losses, gradient = _losses(self._batch, self._delta, self._config, with_gradient=not all(last))
        is_finite = losses.loss_G.isfinite()
        if gradient is not None:
            is_finite &= gradient.isfinite().all(dim=-1)
        ends = (losses.loss_G < self._config.stop_loss) | torch.tensor(last, device=losses.loss_G.device)
        if bool((ends & is_finite).any()):
            self._note_results(ends & is_finite, losses)
        self.suspects += [self.active[g] for g in (~is_finite).nonzero().squeeze(1).tolist()]
        if gradient is not None:
            moved = self._adam.step(self._delta, gradient)
            self._delta = clamp_delta(moved, self._batch.rows.hidden_norm_G * self._growth(), self._config.clamp_factor)
        return ~ends & is_finite

    def _growth(self) -> Tensor:
        """Return the factor by which several edits may enlarge δ: their δ add up like nearly orthogonal vectors."""
        sizes = [len(self._groups[i].edits) for i in self.active]
        return torch.tensor(sizes, dtype=self._delta.dtype, device=self._delta.device).sqrt()

    def _note_results(self, ends_G: Tensor, losses: _Losses) -> None:
        delta, loss, nll = self._delta.cpu(), losses.loss_G.tolist(), losses.nll_G.tolist()
        for g in ends_G.nonzero().squeeze(1).tolist():
            target = Target(
                targets_EH=self._hidden[g].cpu() + delta[g],
                delta_H=delta[g].clone(),
                loss=loss[g],
                nll=nll[g],
                num_losses=self._steps[g],
            )
            self._note(self.active[g], target)

    def _keep(self, goes_on_G: Tensor) -> None:
        """Drop the other searches."""
        if bool(goes_on_G.all()):
            return
        kept = goes_on_G.tolist()
        self.active = list(compress(self.active, kept))
        self._hidden = list(compress(self._hidden, kept))
        self._steps = list(compress(self._steps, kept))
        self._delta = self._delta[goes_on_G]
        self._adam.select(goes_on_G)
        assert self._batch is not None
        self._batch = self._batch.select(goes_on_G) if self.active else None

    def _admit(self) -> None:
        """Start waiting searches that fit, once enough rows are free. If no search runs, start at least one."""
        if self.active and self._room - self.num_rows < REFILL_SHARE * self._room:
            return
        taken: list[int] = []
        num_rows = self.num_rows
        while self._waiting:
            num_rows += self._groups[self._waiting[0]].num_rows
            if num_rows > self._room and (self.active or taken):
                break
            taken.append(self._waiting.popleft())
        if taken:
            self._begin(taken)

    def _begin(self, taken: list[int]) -> None:
        self.active += taken  # set first, so the caller finds them if memory runs out
        self._steps += [0] * len(taken)
        batch, hidden = self._prepare(self._model, [self._groups[i] for i in taken], compute_dtype=self._dtype)
        if self._batch is not None:
            batch = merged([self._batch, batch], [_all(self._batch), _all(batch)])
        self._batch = batch
        self._hidden += hidden
        self._delta = pad(self._delta, (0, 0, 0, len(taken)))
        self._adam.extend(len(taken))


def _all(batch: SearchBatch) -> Tensor:
    return torch.ones(batch.num_groups, dtype=torch.bool, device=batch.rows.hidden_norm_G.device)


@dataclass(frozen=True, slots=True)
class _Losses:
    loss_G: Tensor
    nll_G: Tensor


def _losses(
    batch: SearchBatch, delta_GH: Tensor, config: MemitConfig, *, with_gradient: bool
) -> tuple[SearchBatch, _Losses, Tensor | None]:
    """Return the batch with its starting distributions, the losses at δ, and on request their gradient [G, H]."""
    leaf = delta_GH.detach().requires_grad_(with_gradient)
    with torch.set_grad_enabled(with_gradient):
        nll, now = batch.log_probabilities(leaf)
        batch = batch.started(now.detach())
        loss = search_loss(
            leaf,
            nll_G=nll,
            now_GV=now,
            start_GV=batch.rows.start_GV,
            hidden_norm_G=batch.rows.hidden_norm_G,
            config=config,
        )
        gradient = torch.autograd.grad(loss.sum(), leaf)[0] if with_gradient else None
    return batch, _Losses(loss.detach(), nll.detach()), gradient
