"""Writes an edited model as a Hugging Face folder that ``AutoModelForCausalLM`` loads.

All tensors of the folder have the dtype of the edited matrices: float32 for a float32 or half-precision model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view


def save_checkpoint(loaded: LoadedModel, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write model and tokenizer. All tensors get the edited matrices' dtype, so no edit is rounded away."""
    view: Any = make_view(loaded.model, weights)
    dtype = next(iter(weights.values())).dtype if weights else loaded.dtype
    state = {name: tensor.to(dtype) for name, tensor in view.state_dict().items()}
    view.save_pretrained(folder, state_dict=state)
    config = copy.deepcopy(view.config)
    config.dtype = dtype  # the library records the first parameter's dtype, and would load all in it
    config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
