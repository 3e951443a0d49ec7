"""The request for an export. Torch-free: the API accepts it; the worker and ``errata export`` execute it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from editing_core.errors import ExportRefused, InvalidSettings
from editing_core.versions.layout import ORIGINAL, is_version_name

Format = Literal["hf", "peft"]
ExportDtype = Literal["float32", "bfloat16", "float16"]
DEFAULT_DTYPE: ExportDtype = "float32"
"""Dtype in which edited matrices are stored, so nothing is rounded."""

LARGEST_RANK = 65_536
"""More than the side of any edited matrix. The rank is part of a folder's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """One version in one format. Equal requests are one export, because a version never changes."""

    version: str
    format: Format
    dtype: ExportDtype | None = None
    """For ``hf`` only: dtype of all floating-point tensors; None: float32."""
    max_rank: int | None = None
    """For ``peft`` only: largest rank; None: the rank of the change."""

    @property
    def id(self) -> str:
        """The name of the export and of its folder: ``v12-hf-float32``, ``v12-peft``, ``v12-peft-r8``."""
        if self.format == "hf":
            return f"{self.version}-hf-{self.dtype or DEFAULT_DTYPE}"
        return f"{self.version}-peft" + (f"-r{self.max_rank}" if self.max_rank is not None else "")

    def require_sense(self) -> None:
        """Raise InvalidSettings for invalid combinations, and ExportRefused if there is nothing to export."""
        if self.format not in get_args(Format):
            raise InvalidSettings(f"format {self.format!r} is not one of {', '.join(get_args(Format))}")
        if self.dtype not in {None, *get_args(ExportDtype)}:
            raise InvalidSettings(f"dtype {self.dtype!r} is not one of {', '.join(get_args(ExportDtype))}")
        if not is_version_name(self.version):
            raise InvalidSettings(f"{self.version!r} is not the name of a version, such as v12")
        if self.format == "hf" and self.max_rank is not None:
            raise InvalidSettings("a largest rank is of a peft adapter alone: leave it out, or ask for format peft")
        if self.format == "peft" and self.dtype is not None:
            raise InvalidSettings("an adapter is always float32: leave dtype out, or ask for format hf")
        if self.max_rank is not None and self.max_rank < 1:
            raise InvalidSettings(f"a largest rank of {self.max_rank} leaves nothing: give 1 or more")
        if self.max_rank is not None and self.max_rank > LARGEST_RANK:
            raise InvalidSettings(f"max_rank may be at most {LARGEST_RANK}: no matrix has a larger rank")
        if self.format == "peft" and self.version == ORIGINAL:
            raise ExportRefused(NOTHING_CHANGED.format(version=ORIGINAL))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the inverse of ``from_json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ExportRequest:
        """Read the values of ``to_json``; other keys are ignored."""
        return cls(**{name: record.get(name) for name in ("version", "format", "dtype", "max_rank")})  # type: ignore[arg-type]


NOTHING_CHANGED = (
    "{version} changes nothing of the original, so there is no adapter to export: use the base model as it is, "
    "or export another version"
)
