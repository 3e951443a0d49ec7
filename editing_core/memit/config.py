"""The constants of MEMIT, and their presets per model. Knows no weights.

Sources: Section 5 of the paper and the hyperparameter files of its public implementation (MEMIT.md, "Constants per
model" of the design). The demo models' constants come from trying layers, λ and clamp on the batches of ``make bench``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from editing_core.errors import InvalidSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class MemitConfig:
    """All settings that determine the numbers of an edit, besides the model, its statistics and the edits."""

    layers: tuple[int, ...]
    """Edited layers R, ascending and consecutive; the last is the target layer L."""
    prior_weight: float
    """λ: weight of old associations against new ones."""
    clamp_factor: float = 0.75
    """Largest ‖δ‖ allowed, as a fraction of ‖h‖ at the look-up token."""
    num_steps: int = 25
    """Losses computed per edit; the number of updates is one less."""
    learning_rate: float = 0.5
    weight_decay: float = 0.5
    """Factor of ‖δ‖ / ‖h‖²."""
    kl_factor: float = 0.0625
    stop_loss: float = 0.05
    """An edit stops when its loss is below this."""
    guard_weight: float = 0.05
    """w: weight of a held key (a guard, a protected neighbour, an edit that is already true); an edit's weight is 1.

    ``tests.benchmarks.protection`` measured it: hundreds of held keys at this weight keep most neighbours that would
    otherwise be lost, and cost the edits little.
    """
    bare_weight: float = 0.5
    """Weight of the bare context's key; the other contexts share the rest equally."""

    @property
    def target_layer(self) -> int:
        """L, the layer for whose output z is the target."""
        return self.layers[-1]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "layers": list(self.layers)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MemitConfig:
        """Read the result of ``to_json``, also among other settings. A missing setting gets its default."""
        own = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        return cls(**own | {"layers": tuple(own["layers"])})

    def overrides(self) -> SolveOverrides:
        """Return the overrides that give this configuration's constants to any other configuration."""
        return SolveOverrides(
            layers=",".join(map(str, self.layers)),
            prior_weight=self.prior_weight,
            clamp=self.clamp_factor,
            guard_weight=self.guard_weight,
        )

    def target_settings(self) -> dict[str, Any]:
        """Return the settings that change a z. Layers below the target layer and λ do not change it."""
        record = self.to_json()
        for name in ("prior_weight", "bare_weight", "guard_weight"):
            del record[name]
        return {**record, "layers": self.target_layer}

    def digest(self) -> str:
        """Return the sha256 of all settings."""
        return "sha256:" + hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveOverrides:
    """The constants that users may set; None: the model's preset. The fields have the names of the settings."""

    layers: str | None = None
    """Edited layers, as ``3-8`` or ``3,4,5``."""
    prior_weight: float | None = None
    """λ."""
    clamp: float | None = None
    """``clamp_factor`` of the configuration."""
    guard_weight: float | None = None

    @classmethod
    def read(cls, source: object) -> Self:
        """Read the fields from the attributes of ``source`` (settings or parsed options). Others keep the default."""
        return cls(**{item.name: getattr(source, item.name) for item in fields(cls) if hasattr(source, item.name)})

    def given(self) -> dict[str, Any]:
        """Return the overrides that are not None."""
        values = {item.name: getattr(self, item.name) for item in fields(SolveOverrides)}
        return {name: value for name, value in values.items() if value is not None}

    def differences(self, values: Mapping[str, Any]) -> list[str]:
        """Return one sentence for each override that contradicts the recorded settings ``values``."""
        wanted = _as_config(self.given())
        if self.layers is not None:
            wanted["layers"] = list(wanted["layers"])
        return [
            f"{name} is {value} here and {values[name]} in the store"
            for name, value in wanted.items()
            if name in values and value != values[name]
        ]


NO_OVERRIDES = SolveOverrides()


def _as_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides as fields of the configuration. Raises InvalidSettings for malformed layers."""
    values = {{"clamp": "clamp_factor"}.get(name, name): value for name, value in given.items()}
    return values | ({"layers": parse_layers(values["layers"])} if "layers" in values else {})


@dataclass(frozen=True, slots=True)
class _Preset:
    model_type: str
    num_layers: int
    hidden_size: int
    config: MemitConfig


_PRESETS = (
    _Preset("gptj", 28, 4096, MemitConfig(layers=(3, 4, 5, 6, 7, 8), prior_weight=15_000)),
    _Preset(
        "gpt_neox", 44, 6144, MemitConfig(layers=(6, 7, 8, 9, 10), prior_weight=20_000, clamp_factor=0.3, num_steps=20)
    ),
    _Preset("gpt2", 48, 1600, MemitConfig(layers=(13, 14, 15, 16, 17), prior_weight=20_000, num_steps=20)),
    _Preset("llama", 32, 4096, MemitConfig(layers=(4, 5, 6, 7, 8), prior_weight=15_000)),
    _Preset("gptj", 8, 192, MemitConfig(layers=(0, 1), prior_weight=200, clamp_factor=0.65)),
    _Preset("gpt_neox", 8, 192, MemitConfig(layers=(0, 1), prior_weight=500, clamp_factor=0.9)),
)


def preset(model_type: str, *, num_layers: int, hidden_size: int) -> MemitConfig:
    """Return the published or measured constants of a model. For an unknown size, scale constants to its depth.

    The fallback edits layers at the same relative depth as for GPT-J (about a tenth to three tenths).
    """
    for known in _PRESETS:
        if (known.model_type, known.num_layers, known.hidden_size) == (model_type, num_layers, hidden_size):
            return known.config
    first = max(0, round(num_layers * 3 / 28))
    last = min(num_layers - 2, max(first, round(num_layers * 8 / 28)))
    if last < first:
        raise InvalidSettings(f"a model of {num_layers} layers is too shallow to edit: it needs at least 2")
    return MemitConfig(layers=tuple(range(first, last + 1)), prior_weight=15_000)


def configure(base: MemitConfig, *, num_layers: int, overrides: SolveOverrides = NO_OVERRIDES) -> MemitConfig:
    """Return ``base`` with the overrides applied. Raises InvalidSettings for layers that the model does not have."""
    given = overrides.given()
    for name, value in given.items():
        if name != "layers" and not (math.isfinite(value) and value > 0):
            raise InvalidSettings(f"{name.replace('_', ' ')} {value}: it must be a number above 0")
    config = replace(base, **_as_config(given))
    if config.layers[-1] > num_layers - 2:
        raise InvalidSettings(
            f"layers {overrides.layers or config.layers}: the last edited layer must lie below the model's last block"
            f" {num_layers - 1}, or its change could not be read by attention"
        )
    return config


def parse_layers(text: str) -> tuple[int, ...]:
    """Read ``3-8`` or ``3,4,5``. Raises InvalidSettings unless the layers are ascending and consecutive."""
    if match := re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", text):
        layers = tuple(range(int(match[1]), int(match[2]) + 1))
    elif re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
        layers = tuple(int(part) for part in text.split(","))
    else:
        raise InvalidSettings(f"layers {text!r}: write 3-8 or 3,4,5")
    if not layers or layers != tuple(range(layers[0], layers[0] + len(layers))):
        raise InvalidSettings(f"layers {text!r}: they must be ascending and consecutive")
    return layers
