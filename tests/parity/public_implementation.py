"""Parity with MEMIT's public implementation: feeds its token rows and statistics to Errata and compares every step.

Usage: ``python -m tests.parity.public_implementation FOLDER`` where FOLDER holds ``model/`` (a checkpoint) and
``reference/`` (``reference.json``: contexts, settings, token rows; ``reference.safetensors``: covariances, z, keys,
residuals, deltas). Prints one table; exit code 1 if a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from editing_core.memit.config import MemitConfig
from editing_core.memit.search.rows import GroupRows
from editing_core.memit.targets import search_targets
from editing_core.memit.tokens import EditRows, TokenRow
from editing_core.memit.update import solve_edits
from editing_core.models.load import load_model
from tests.parity.folder import require_files

LIMITS = {"z": 1e-4, "keys": 1e-5, "residuals": 1e-5, "delta": 1e-4}
"""Largest relative difference (norm of the difference over norm of the reference)."""


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    require_files(folder, "model/config.json", "reference/reference.json", "reference/reference.safetensors")
    described = json.loads((folder / "reference" / "reference.json").read_text())
    reference = load_file(folder / "reference" / "reference.safetensors")
    worst = compare(folder / "model", described, reference)
    print(f"{'step':<14}{'worst relative difference':>28}{'limit':>10}")
    for step, value in worst.items():
        print(f"{step:<14}{value:>28.2e}{LIMITS[step.split('.')[0]]:>10.0e}")
    return int(any(value > LIMITS[step.split(".")[0]] for step, value in worst.items()))


def compare(model: Path, described: dict[str, Any], reference: dict[str, Tensor]) -> dict[str, float]:
    """Worst relative difference of each step, by name."""
    loaded = load_model(str(model), device="cpu", dtype="float32")
    config = MemitConfig(
        layers=tuple(described["layers"]),
        prior_weight=described["lambda"],
        clamp_factor=described["clamp"],
        num_steps=described["steps"],
    )
    edits = [_rows(edit) for edit in described["edits"]]
    found = search_targets(loaded, [GroupRows((edit,)) for edit in edits], config, batch_rows=140)
    worst = {"z": _worst_row(torch.cat([target.targets_EH for target in found]), reference["z"])}
    update = solve_edits(
        loaded,
        [edit.prompts for edit in edits],
        reference["z"],
        covariances={layer: reference[f"cov.{layer}"] for layer in config.layers},
        config=config,
    )
    for layer, step in update.layers.items():
        worst[f"keys.{layer}"] = _worst_row(step.keys_NM, reference[f"keys.{layer}"])
        worst[f"residuals.{layer}"] = _worst_row(step.residuals_NH, reference[f"residuals.{layer}"])
        worst[f"delta.{layer}"] = _relative(step.delta_HM, reference[f"delta.{layer}"])
    return worst


def _rows(edit: dict[str, Any]) -> EditRows:
    target = tuple(edit["target_ids"])
    kept = len(target) - 1
    *rewriting, guard = edit["rows"]
    prompts = [TokenRow(tuple(row["ids"][: len(row["ids"]) - kept]), row["lookup"]) for row in rewriting]
    return EditRows(prompts=tuple(prompts), target=target, kl=TokenRow(tuple(guard["ids"]), guard["lookup"]))


def _worst_row(ours: Tensor, theirs: Tensor) -> float:
    return max(_relative(a, b) for a, b in zip(ours, theirs, strict=True))


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


if __name__ == "__main__":
    sys.exit(main())
