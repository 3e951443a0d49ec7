"""The identity of a store: its id, and the one model and the one set of settings that it belongs to.

Each of the three is a file that is written once and never changed. Processes that start together therefore agree
without a lock. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from editing_core.clock import timestamp, utc_now
from editing_core.durable import write_once
from editing_core.errors import StoreDamaged, StoreMismatch
from editing_core.versions.layout import StoreLayout

FORMAT = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _StoreFile(_Frozen):
    format: int
    id: str
    created: str


class ModelBinding(_Frozen):
    """The model that the store belongs to."""

    fingerprint: str
    source: str
    """The model's source when the store was bound. Another source with the same fingerprint is the same model."""


class SettingsBinding(_Frozen):
    """The settings of the solve that the store belongs to."""

    fingerprint: str
    values: dict[str, JsonValue]


class StoreIdentity(_Frozen):
    """The store's id, and the model and settings that it is bound to so far."""

    format: int
    id: str
    created: str
    """ISO 8601 with Z."""
    model: ModelBinding | None
    """None until a process that has loaded the model binds the store to it."""
    settings: SettingsBinding | None


ModelT = TypeVar("ModelT", bound=_Frozen)


def open_identity(root: Path) -> StoreIdentity:
    """Read the store's identity; an empty or missing folder becomes a new store.

    Raises StoreDamaged if one of the files cannot be read, or has an earlier or later format.
    """
    layout = StoreLayout(root)
    fresh = _StoreFile(format=FORMAT, id=secrets.token_hex(6), created=_now())
    content = write_once(layout.store_file, _encode(fresh))
    _require_format(layout.store_file, content)
    store = _parse(_StoreFile, layout.store_file, content)
    return StoreIdentity(
        format=store.format,
        id=store.id,
        created=store.created,
        model=_read(ModelBinding, layout.model_file),
        settings=_read(SettingsBinding, layout.settings_file),
    )


def bind_identity(
    root: Path,
    *,
    model: str,
    model_source: str,
    settings: str | None = None,
    settings_values: Mapping[str, Any] | None = None,
) -> StoreIdentity:
    """Bind the store to a model fingerprint and, if given, a settings fingerprint. The first caller's values are final.

    ``settings_values`` are the settings behind the fingerprint. They are stored to name a difference later.
    Raises StoreMismatch, with the difference, if the store belongs to another model or other settings.
    """
    layout = StoreLayout(root)
    open_identity(root)
    wanted_model = ModelBinding(fingerprint=model, source=model_source)
    held_model = _parse(ModelBinding, layout.model_file, write_once(layout.model_file, _encode(wanted_model)))
    if held_model.fingerprint != model:
        raise StoreMismatch(_model_difference(root, held_model, wanted_model))
    if settings is not None:
        wanted = SettingsBinding(fingerprint=settings, values=json.loads(json.dumps(dict(settings_values or {}))))
        held = _parse(SettingsBinding, layout.settings_file, write_once(layout.settings_file, _encode(wanted)))
        is_same = bool(wanted.values) and held.values == wanted.values  # 200 equals 200.0, but the fingerprints differ
        if held.fingerprint != settings and not is_same:
            raise StoreMismatch(_settings_difference(root, held, wanted))
    return open_identity(root)


def settings_fingerprint(values: Mapping[str, Any]) -> str:
    """The fingerprint of the settings of a solve."""
    return "sha256:" + hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()


def _model_difference(root: Path, held: ModelBinding, wanted: ModelBinding) -> str:
    return (
        f"the store {root} belongs to the model {held.source!r} ({held.fingerprint[:12]}…), not to "
        f"{wanted.source!r} ({wanted.fingerprint[:12]}…): start with that model, or with another data folder; "
        "`errata migrate --to MODEL --out FOLDER` solves the same edits on another model"
    )


def _settings_difference(root: Path, held: SettingsBinding, wanted: SettingsBinding) -> str:
    names = [n for n in sorted({*held.values, *wanted.values}) if held.values.get(n) != wanted.values.get(n)]
    differences = [f"{n} is {wanted.values.get(n)!r} here and {held.values.get(n)!r} in the store" for n in names]
    difference = (
        "; ".join(differences) or f"fingerprint {wanted.fingerprint[:12]}… here, {held.fingerprint[:12]}… there"
    )
    return (
        f"the store {root} was solved with other settings: {difference}. Start with the store's settings, or solve "
        "its edits with these settings in another folder: `errata rebuild --out FOLDER` with --layers, "
        "--prior-weight, --clamp or --new-statistics"
    )


def _require_format(path: Path, content: bytes) -> None:
    """Check the format before any other field: another format may have other fields."""
    try:
        found = json.loads(content).get("format")
    except (ValueError, AttributeError, RecursionError):
        return  # not a store file of any format: the caller reports it when it parses the file
    if isinstance(found, int) and found != FORMAT:
        raise StoreDamaged(
            f"{path} has format {found} and this Errata reads format {FORMAT}: use the Errata that wrote it, or "
            "another data folder"
        )


def _read(kind: type[ModelT], path: Path) -> ModelT | None:
    return _parse(kind, path, path.read_bytes()) if path.exists() else None


def _parse(kind: type[ModelT], path: Path, content: bytes) -> ModelT:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise StoreDamaged(f"{path} cannot be read ({reason}): restore it from a backup of this folder") from None


def _encode(record: _Frozen) -> bytes:
    return (record.model_dump_json(indent=1) + "\n").encode()


def _now() -> str:
    return timestamp(utc_now(), timespec="seconds")
