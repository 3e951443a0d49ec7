"""Models with random weights in the shape of large ones, made where they are to lie; one token is one word."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPTJConfig, GPTNeoXConfig, PreTrainedTokenizerFast

from editing_core.models.families.registry import family_of
from editing_core.models.load import LoadedModel, wrap_model

ShapeName = Literal["gptj", "neox", "tiny"]
SHAPES: tuple[ShapeName, ...] = get_args(ShapeName)
NUM_POSITIONS = 2048
SPREAD = 0.02
"""Standard deviation of the weights, as both families are initialised."""


def random_model(name: ShapeName, *, device: str, dtype: torch.dtype, layers_scale: float = 1.0) -> LoadedModel:
    """GPT-J 6B's shape, GPT-NeoX 20B's or a tiny GPT-J's; ``layers_scale`` is the share of the blocks that are made.

    On the device ``meta`` a model costs nothing and has its shape alone.
    """
    config = _config(name, layers_scale)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.requires_grad_(False)
    if device != "meta":
        _fill(model, torch.Generator(device).manual_seed(0))
    return wrap_model(
        model,
        word_tokenizer(config.vocab_size),
        family=family_of(config.model_type),
        source=f"random-{name}",
        path=Path("nowhere"),
        fingerprint=f"sha256:random-{name}",
    )


def word_tokenizer(num_words: int) -> PreTrainedTokenizerFast:
    """One token a word: ``w0``, ``w1`` and so on; ``w0`` ends a text."""
    end = "w0"
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(num_words)}, unk_token=end))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=end, eos_token=end, pad_token=end)


def _config(name: ShapeName, layers_scale: float) -> Any:
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    ends = {"bos_token_id": 0, "eos_token_id": 0}

    def scaled(num_layers: int) -> int:
        return max(3, round(num_layers * layers_scale))

    match name:
        case "gptj":
            return GPTJConfig(n_layer=scaled(28), n_embd=4096, n_head=16, rotary_dim=64, **no_dropout, **ends)
        case "neox":
            return GPTNeoXConfig(
                num_hidden_layers=scaled(44),
                hidden_size=6144,
                intermediate_size=24_576,
                num_attention_heads=64,
                vocab_size=50_432,
                max_position_embeddings=NUM_POSITIONS,
                tie_word_embeddings=False,
                **ends,
            )
    return GPTJConfig(
        vocab_size=2000,
        n_positions=NUM_POSITIONS,
        n_layer=scaled(8),
        n_embd=128,
        n_head=4,
        rotary_dim=16,
        **no_dropout,
        **ends,
    )


@torch.no_grad()
def _fill(model: Any, generator: torch.Generator) -> None:
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.normal_(0.0, SPREAD, generator=generator)
