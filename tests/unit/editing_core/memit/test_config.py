"""Layers, presets, and what of the settings changes a z."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editing_core.errors import InvalidSettings
from editing_core.memit.config import MemitConfig, SolveOverrides, configure, parse_layers, preset


@pytest.mark.parametrize(("text", "layers"), [("3-8", (3, 4, 5, 6, 7, 8)), ("1,2,3", (1, 2, 3)), (" 4 ", (4,))])
def test_layers_are_read(text: str, layers: tuple[int, ...]) -> None:
    assert parse_layers(text) == layers


@pytest.mark.parametrize("text", ["", "3-", "8-3", "1,3", "2,1", "a", "1;2", "-1"])
def test_layers_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="layers"):
        parse_layers(text)


def test_the_last_block_cannot_be_edited() -> None:
    base = MemitConfig(layers=(0, 1), prior_weight=1.0)
    with pytest.raises(InvalidSettings, match="below the model's last block 3"):
        configure(base, num_layers=4, overrides=SolveOverrides(layers="2-3"))


def test_published_constants_are_the_presets_of_the_published_models() -> None:
    gptj = preset("gptj", num_layers=28, hidden_size=4096)
    assert (gptj.layers, gptj.prior_weight, gptj.clamp_factor) == ((3, 4, 5, 6, 7, 8), 15_000, 0.75)
    neox = preset("gpt_neox", num_layers=44, hidden_size=6144)
    assert (neox.layers, neox.prior_weight, neox.num_steps) == ((6, 7, 8, 9, 10), 20_000, 20)


def test_every_depth_of_two_and_more_has_a_preset_below_its_last_block() -> None:
    for num_layers in range(2, 60):
        config = preset("gpt_neox", num_layers=num_layers, hidden_size=99)
        assert config == configure(config, num_layers=num_layers)


def test_a_z_does_not_depend_on_the_weight_of_old_associations_but_on_the_clamp() -> None:
    config = MemitConfig(layers=(0, 1, 2), prior_weight=1.0)
    assert config.target_settings() == replace(config, prior_weight=2.0, layers=(1, 2)).target_settings()
    assert config.target_settings() != replace(config, clamp_factor=0.5).target_settings()
    assert config.target_settings() != replace(config, layers=(0, 1)).target_settings()
