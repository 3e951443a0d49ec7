"""Perplexity is exp of the mean loss over windows."""

from __future__ import annotations

import math

import pytest
import torch

from editing_core.asking.perplexity import num_windows, perplexity
from editing_core.models.views import make_view
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model

IDS = torch.randint(320, (300,), generator=torch.Generator().manual_seed(0)).tolist()


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("num_tokens", [2, 128, 129, 130, 300])
def test_perplexity_equals_the_library_s_own_loss_over_the_same_windows(family: TinyFamily, num_tokens: int) -> None:
    model, ids = tiny_model(family), IDS[:num_tokens]
    total = count = 0.0
    with torch.no_grad():
        for start in range(0, num_tokens, 128):
            window = torch.tensor([ids[start : start + 128]])
            if window.shape[1] > 1:
                total += float(model(input_ids=window, labels=window).loss) * (window.shape[1] - 1)
                count += window.shape[1] - 1
    # float32 sums in another order
    assert perplexity(model, ids, window=128) == pytest.approx(math.exp(total / count), rel=1e-5)


def test_progress_counts_every_window() -> None:
    reported: list[int] = []
    perplexity(tiny_model("gptj"), IDS, window=32, batch_size=4, on_rows=reported.append)
    assert sum(reported) == num_windows(IDS, 32) == 10


def test_a_single_token_has_no_perplexity() -> None:
    with pytest.raises(ValueError, match="at least 2 tokens"):
        perplexity(tiny_model("gptj"), [5])


def test_a_nan_in_the_weights_shows_as_nan() -> None:
    model = tiny_model("gptj")
    name = "transformer.h.1.mlp.fc_out.weight"
    weight = model.get_parameter(name).clone()
    weight[0, 0] = math.nan
    assert math.isnan(perplexity(make_view(model, {name: weight}), IDS))
