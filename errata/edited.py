"""A model with edits in it: generate, check, save."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor, nn

from editing_core.asking.continuations import continue_greedily
from editing_core.checks.checks import CheckLimits, run_checks
from editing_core.editor.editor import JointEditor
from editing_core.edits import AcceptedEdit
from editing_core.errors import InvalidSettings
from editing_core.export.checkpoint.base import BaseCheckpoint
from editing_core.export.checkpoint.shards import plan_checkpoint, write_checkpoint
from editing_core.export.folder import fresh_folder, require_space
from editing_core.memit.update import Update
from editing_core.models.load import DTYPES
from errata.check import Check
from errata.progress import progress_on, stage

CHECK_SEED = 0
"""The seed that the worker uses: the check asks the same questions as the service would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedModel:
    """The result of one joint solve. It shares all tensors with the original except the edited matrices."""

    model: nn.Module
    """The edited model: an ordinary torch module of the original's class, in eval mode."""
    edits: tuple[AcceptedEdit, ...]
    """The edits in it. ``edits[2]`` is the id of the third edit that was given."""
    update: Update
    """What the solve read and made: per edited layer keys, residuals and Δ, and the norms of the changes."""
    joint_editor: JointEditor
    console: Console | None
    """Where progress is written; None: nowhere."""

    @property
    def tokenizer(self) -> Any:
        """The original's tokenizer."""
        return self.joint_editor.loaded.tokenizer

    @property
    def weights(self) -> dict[str, Tensor]:
        """The edited matrices by parameter name, at least float32."""
        return self.update.weights

    def generate(self, prompt: str, *, max_new_tokens: int = 24) -> str:
        """The text that greedy decoding writes after the prompt. Raises InvalidPrompt."""
        return continue_greedily(self.model, self.tokenizer, [prompt], max_new_tokens=max_new_tokens)[0]

    def check(self, limits: CheckLimits | None = None) -> Check:
        """Measure what the service measures before a version goes live, against the untouched model.

        ``limits`` None: the service's defaults.
        """
        loaded, artefacts = self.joint_editor.loaded, self.joint_editor.artefacts
        with progress_on(self.console) as progress:
            report = run_checks(
                original=loaded.model,
                parent=loaded.model,
                candidate=self.model,
                tokenizer=loaded.tokenizer,
                live=self.edits,
                new=self.edits,
                probes=artefacts.probes,
                heldout_ids=artefacts.heldout_ids,
                base_perplexity=artefacts.heldout_perplexity,
                delta_norms=self.update.delta_norms,
                limits=limits or CheckLimits(),
                seed=CHECK_SEED,
                protected=self.joint_editor.holding(self.edits).prompts,
                on_progress=stage(progress, "checking"),
            )
        return Check(report)

    def save(self, folder: str | Path, *, dtype: str = "float32") -> Path:
        """Write a Hugging Face folder that ``AutoModelForCausalLM.from_pretrained`` loads, and return its path.

        All floating-point tensors get ``dtype``; float32 rounds no edit away. The folder appears complete or not at
        all. Raises ExportRefused if it is not empty or the disk is full, and InvalidSettings for an unknown dtype.
        """
        if dtype not in DTYPES:
            raise InvalidSettings(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        target = Path(folder)
        plan = plan_checkpoint(BaseCheckpoint.open(self.joint_editor.loaded.path), self.weights, dtype=DTYPES[dtype])
        require_space(target.absolute(), plan.size_bytes)
        done = 0
        with progress_on(self.console) as progress, fresh_folder(target) as partial:

            def count(num_bytes: int) -> None:
                nonlocal done
                done += num_bytes
                progress("writing bytes", done, plan.size_bytes)

            write_checkpoint(plan, partial, on_bytes=count)
        return target
