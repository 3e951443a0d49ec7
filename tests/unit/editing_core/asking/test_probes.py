"""The probe set keeps what the original says, and drift is how far another model is from it."""

from __future__ import annotations

import math

import pytest
import torch

from editing_core.asking.probes import build_probes, drift, next_log_probs
from editing_core.errors import InvalidSettings
from editing_core.models.views import make_view
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model

IDS = torch.randint(320, (40, 32), generator=torch.Generator().manual_seed(1)).tolist()


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_probes_hold_the_models_own_distributions_and_first_choices(family: TinyFamily) -> None:
    model = tiny_model(family)
    probes = build_probes(model, IDS, num_prompts=12)
    assert len(probes.prompts) == 12
    assert len({len(prompt) for prompt in probes.prompts}) > 6
    for prompt, answer, log_probs in zip(probes.prompts, probes.answers, probes.log_probs, strict=True):
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(0)
        # float32, padded against not padded
        torch.testing.assert_close(log_probs, expected, atol=1e-4, rtol=1e-4)
        assert answer == int(log_probs.argmax())
        assert 4 <= len(prompt) <= 32


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_model_has_not_drifted_from_itself_at_all(family: TinyFamily) -> None:
    model = tiny_model(family)
    probes = build_probes(model, IDS)
    found = drift(probes.log_probs, next_log_probs(make_view(model, {}), probes.prompts))
    assert (found.mean_kl, found.answers_kept) == (0.0, 1.0)


def test_drift_is_the_mean_kl_divergence_of_before_from_after() -> None:
    before = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    after = torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
    found = drift(before, after)
    expected = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)) / 2
    assert found.mean_kl == pytest.approx(expected, rel=1e-6)  # float32 inputs
    assert found.answers_kept == 0.5


def test_what_was_impossible_before_costs_nothing_and_nan_stays_nan() -> None:
    certain = torch.tensor([[0.0, -math.inf]])
    assert drift(certain, torch.tensor([[0.5, 0.5]]).log()).mean_kl == pytest.approx(math.log(2))
    assert math.isnan(drift(certain, torch.full((1, 2), math.nan)).mean_kl)


def test_drift_grows_with_the_change() -> None:
    model = tiny_model("gpt_neox")
    name = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"
    probes = build_probes(model, IDS)
    found = [
        drift(
            probes.log_probs,
            next_log_probs(make_view(model, {name: scale * model.get_parameter(name)}), probes.prompts),
        )
        for scale in (1.01, 1.1, 2.0)
    ]
    assert 0 < found[0].mean_kl < found[1].mean_kl < found[2].mean_kl


def test_text_too_short_for_a_prompt_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="larger corpus"):
        build_probes(tiny_model("gptj"), [[1, 2, 3]])
