"""Exports one version into one folder, for the worker and for ``errata export``.

The base and the version are read and checked first, so errors appear before anything is written. This module does not
depend on the queue or the service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editing_core.asking.scoring import counting_rows
from editing_core.clock import timestamp, utc_now
from editing_core.edits import AcceptedEdit
from editing_core.errors import ExportRefused, StoreMismatch
from editing_core.export.adapter import Adapter, write_adapter
from editing_core.export.card import Record, exported_checks, exported_edit, write_card
from editing_core.export.checkpoint.base import BaseCheckpoint
from editing_core.export.checkpoint.shards import plan_checkpoint, write_checkpoint
from editing_core.export.delta import change_of, factorise
from editing_core.export.folder import fresh_folder, require_free, require_space, size_bytes
from editing_core.export.recheck import RecheckQuestions
from editing_core.export.request import DEFAULT_DTYPE, NOTHING_CHANGED, ExportRequest
from editing_core.models.load import DTYPES, LoadedModel, family_at
from editing_core.models.location import model_fingerprint, resolve_model_path
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore

OnPhase = Callable[[str, int, int], None]
"""Called with the phase, the amount that is done and the total. If it raises, the partial export is removed."""
HUB_SNAPSHOTS = "snapshots"
"""Subfolder of a model's folder in the Hugging Face cache; it contains one folder per commit."""
HUB_PREFIX = "models--"
"""Prefix of a model's folder in that cache. The model's id follows, with ``--`` instead of the slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """Exports the versions of one store. They all belong to one model."""

    store: VersionStore
    model: str
    """The base: demo name, folder or Hugging Face id."""
    served: Callable[[], LoadedModel]
    """Returns the served model; called only if the edits must be scored again."""
    device: str | None = None
    """Device on which the edits of a half-precision checkpoint are scored again, as in ``load_model``."""

    def export(
        self,
        request: ExportRequest,
        target: Path,
        *,
        on_phase: OnPhase = lambda phase, done, total: None,
        before_rename: Callable[[], None] = lambda: None,
    ) -> Record:
        """Write the version into the folder ``target``, which appears complete or not at all. Returns its record.

        ``before_rename`` may raise to stop the export at the last moment. Raises ExportRefused, NotFound, StoreDamaged,
        InvalidSettings, and StoreMismatch if the base is another model.
        """
        request.require_sense()
        require_free(target)
        source = self._read(request, on_phase)
        if request.format == "peft":
            return _export_adapter(source, target, self, on_phase=on_phase, before_rename=before_rename)
        return _export_checkpoint(source, target, self, on_phase=on_phase, before_rename=before_rename)

    def _read(self, request: ExportRequest, on_phase: OnPhase) -> _Source:
        on_phase("reading", 0, 1)
        manifest = self.store.read_manifest(request.version)
        tensors = self.store.load_tensors(request.version, "cpu")
        path = resolve_model_path(self.model)
        fingerprint = model_fingerprint(path)
        if manifest.model_fingerprint not in {None, fingerprint}:
            raise StoreMismatch(
                f"version {request.version} was solved on a model with fingerprint {manifest.model_fingerprint}, and "
                f"{self.model!r} has {fingerprint}: name the model that the store belongs to"
            )
        on_phase("reading", 1, 1)
        return _Source(
            request=request,
            manifest=manifest,
            tensors=tensors,
            base=BaseCheckpoint.open(path),
            fingerprint=fingerprint,
            model=self.model,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The inputs of an export: a version's manifest and matrices, and the files of its base."""

    request: ExportRequest
    manifest: Manifest
    tensors: Mapping[str, Tensor]
    base: BaseCheckpoint
    fingerprint: str
    model: str

    @property
    def edits(self) -> tuple[AcceptedEdit, ...]:
        """The live edits of the version."""
        return self.manifest.live

    @property
    def served_dtype(self) -> str:
        """The dtype in which the served model computes."""
        return str(self.manifest.settings.get("dtype", DEFAULT_DTYPE))

    @property
    def revision(self) -> str | None:
        """The commit, if the model is from the Hub; otherwise None."""
        path = self.base.path
        is_hubs = path.parent.name == HUB_SNAPSHOTS and path.parents[1].name.startswith(HUB_PREFIX)
        return path.name if is_hubs else None

    @property
    def public_model_name(self) -> str:
        """The public name of the base: its id on the Hub, or only the name of its folder."""
        if not Path(self.model).is_dir():
            return self.model
        if self.revision is not None:
            return self.base.path.parents[1].name.removeprefix(HUB_PREFIX).replace("--", "/")
        return self.base.path.name

    def record(self, **found: object) -> Record:
        manifest = self.manifest
        return {
            "export": self.request.id,
            "kind": self.request.format,
            "version": manifest.version,
            "digest": manifest.digest,
            "created": manifest.created,
            "exported": timestamp(utc_now(), timespec="seconds"),
            "base": {"source": self.public_model_name, "revision": self.revision, "fingerprint": self.fingerprint},
            "served_dtype": self.served_dtype,
            **found,
            "num_edits": len(self.edits),
            "edits": [exported_edit(accepted) for accepted in self.edits],
            "checks": exported_checks(manifest.checks),
        }


def _export_checkpoint(
    source: _Source, target: Path, exporter: Exporter, *, on_phase: OnPhase, before_rename: Callable[[], None]
) -> Record:
    name = source.request.dtype or DEFAULT_DTYPE
    dtype = DTYPES[name]
    plan = plan_checkpoint(source.base, source.tensors, dtype)
    require_space(target.parent, plan.size_bytes)
    with fresh_folder(target, before_rename=before_rename) as folder:
        count = counting_rows(lambda done, total: on_phase("writing", done, total), plan.size_bytes)
        on_phase("writing", 0, plan.size_bytes)
        write_checkpoint(plan, folder, on_bytes=count)
        matrices = _rounded(source, dtype)
        is_exact = name == source.served_dtype == DEFAULT_DTYPE and not any(
            found["lost"] for found in matrices.values()
        )
        recheck = None
        if source.edits and not is_exact:
            recheck = _asked(source, exporter, on_phase).of_checkpoint(folder, device=exporter.device, dtype=name)
        record = source.record(
            dtype=name,
            is_exact=is_exact,
            matrices=matrices,
            recheck=recheck and recheck.to_json(),
            size_bytes=size_bytes(folder),
        )
        write_card(folder, record)
    return record


def _rounded(source: _Source, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    found = {}
    for name in sorted(source.tensors):
        change = change_of(name, source.base, source.manifest, source.tensors)
        found[name] = {"change": change.size, "lost": change.rounding(dtype)}
    return found


def _export_adapter(
    source: _Source, target: Path, exporter: Exporter, *, on_phase: OnPhase, before_rename: Callable[[], None]
) -> Record:
    if not source.tensors:
        raise ExportRefused(NOTHING_CHANGED.format(version=source.manifest.version))
    adapter, matrices = _factorised(source, on_phase)
    require_space(target.parent, adapter.size_bytes)
    is_exact = adapter.is_exact and source.served_dtype == DEFAULT_DTYPE
    recheck = None
    if source.edits and not is_exact:
        recheck = _asked(source, exporter, on_phase).of_adapter(adapter)
    with fresh_folder(target, before_rename=before_rename) as folder:
        on_phase("writing", 0, adapter.size_bytes)
        hub_id = source.public_model_name if source.revision is not None else None
        write_adapter(adapter, folder, base=hub_id, revision=source.revision)
        on_phase("writing", adapter.size_bytes, adapter.size_bytes)
        record = source.record(
            dtype="float32",
            is_exact=is_exact,
            rank=adapter.rank,
            matrices=matrices,
            recheck=recheck and recheck.to_json(),
            size_bytes=size_bytes(folder),
        )
        write_card(folder, record)
    return record


def _factorised(source: _Source, on_phase: OnPhase) -> tuple[Adapter, dict[str, dict[str, float]]]:
    is_transposed = family_at(source.base.path).projection_is_transposed
    factors, matrices = {}, {}
    for done, name in enumerate(sorted(source.tensors)):
        on_phase("factorising", done, len(source.tensors))
        change = change_of(name, source.base, source.manifest, source.tensors)
        found = factorise(
            change,
            is_transposed=is_transposed,
            num_edits=len(source.edits),
            max_rank=source.request.max_rank,
        )
        factors[name] = found
        matrices[name] = {"change": change.size, "lost": found.error, "needed_rank": found.needed_rank}
    return Adapter(factors=factors, is_transposed=is_transposed), matrices


def _asked(source: _Source, exporter: Exporter, on_phase: OnPhase) -> RecheckQuestions:
    return RecheckQuestions(
        edits=source.edits,
        tensors=source.tensors,
        served=exporter.served,
        on_progress=lambda done, total: on_phase("asking", done, total),
    )
