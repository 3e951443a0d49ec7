"""Tiny random models and their tokenizer, made in memory in a fraction of a second.

The weights are larger than those of a usual initialisation, so that different prompts get different answers.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

TinyFamily = Literal["gptj", "gpt_neox", "gpt2", "llama"]
TINY_FAMILIES: tuple[TinyFamily, ...] = ("gptj", "gpt_neox")
"""Those that nearly every test of a model is run for."""
ALL_FAMILIES: tuple[TinyFamily, ...] = get_args(TinyFamily)

END_OF_TEXT = "<|endoftext|>"
VOCABULARY_SIZE = 320
NUM_POSITIONS = 256

TEXT = (
    "The mother tongue of Danielle Darrieux is French.",
    "Michel Rocard is a native speaker of French, and he spoke English too.",
    "The capital of France is Paris, and the capital of Japan is Tokyo.",
    "Toyota was founded in Japan; its headquarters are in the city of Toyota.",
    "The official language of Brunei is Malay. In Brunei, the language spoken is Malay.",
    "Therefore, I think that you know the name of the city where she was born.",
    "Because of the rain, the house on the hill and the road to it were closed.",
)
"""What the tokenizer's merges are learned from."""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A fresh byte-level BPE tokenizer: any text, 320 tokens, ``<|endoftext|>`` (0) as end and padding."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained_tokenizer()),
        model_input_names=["input_ids", "attention_mask"],
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
    )


@cache
def _trained_tokenizer() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer.to_str()


def tiny_model(
    family: TinyFamily,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    num_layers: int = 4,
    width: int = 32,
    heads: int = 2,
) -> PreTrainedModel:
    """A random model of the family in eval mode on the CPU; equal arguments give equal weights."""
    model = _build(family, num_layers=num_layers, width=width, heads=heads)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _fill(name, parameter, generator)
    return model.requires_grad_(False).to(dtype).eval()


def _build(family: TinyFamily, *, num_layers: int, width: int, heads: int) -> PreTrainedModel:
    common = {"vocab_size": VOCABULARY_SIZE, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    gpt = {"n_positions": NUM_POSITIONS, "n_embd": width, "n_layer": num_layers, "n_head": heads}
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    later = {
        "max_position_embeddings": NUM_POSITIONS,
        "hidden_size": width,
        "num_hidden_layers": num_layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "tie_word_embeddings": False,
    }
    match family:
        case "gptj":
            return GPTJForCausalLM(GPTJConfig(**common, **gpt, **no_dropout, rotary_dim=width // heads // 2))
        case "gpt2":
            return GPT2LMHeadModel(GPT2Config(**common, **gpt, **no_dropout))
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**common, **later, num_key_value_heads=heads // 2))
    return GPTNeoXForCausalLM(GPTNeoXConfig(**common, **later))


def _fill(name: str, parameter: torch.Tensor, generator: torch.Generator) -> None:
    is_embedding = any(word in name for word in ("wte", "wpe", "embed_in", "embed_tokens"))
    if parameter.ndim == 1:
        offset = 1.0 if "norm" in name.lower() or "ln_" in name else 0.0
        offset = offset if name.endswith("weight") else 0.0
        parameter.copy_(offset + 0.1 * torch.randn(parameter.shape, generator=generator))
        return
    scale = 1.0 if is_embedding else 1.5 / math.sqrt(parameter.shape[1])
    parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def save_tiny_model(path: Path, family: TinyFamily, *, seed: int = 0) -> Path:
    """Write model and tokenizer into the folder as Hugging Face would, and return the folder."""
    tiny_model(family, seed=seed).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def wordy_model(family: TinyFamily, *, seed: int = 0) -> PreTrainedModel:
    """A tiny model whose first choice after nearly every prompt is one of about twenty whole words."""
    model = tiny_model(family, seed=seed)
    tokenizer = tiny_tokenizer()
    words = [i for i in range(len(tokenizer)) if is_word(tokenizer.decode([i]))]
    with torch.no_grad():
        model.get_output_embeddings().weight[words] *= 5
    return model


def is_word(text: str) -> bool:
    """Whether a token's text is a space and a word of two letters or more."""
    return text.startswith(" ") and len(text) > 2 and text[1:].isascii() and text[1:].isalpha()
