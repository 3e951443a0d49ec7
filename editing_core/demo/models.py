"""The demo models: the paths of their files, and the architectures and tokenizer for training.

Knows no facts and no training. Importing it does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import GPTJForCausalLM, GPTNeoXForCausalLM, PreTrainedTokenizerFast

Architecture = Literal["gptj", "gptneox"]
DemoModel = Literal["demo-gptj", "demo-gptneox"]

_FOLDER = Path(__file__).parent
_WIDTH, _LAYERS, _HEADS, _ROTARY, _POSITIONS = 192, 8, 3, 32, 256
_VOCABULARY = 4096
_END_OF_TEXT = "<|endoftext|>"


def demo_model_path(name: DemoModel) -> Path:
    """Return the folder of a demo model, in the layout of `save_pretrained`."""
    return _FOLDER / "models" / name.removeprefix("demo-")


def demo_corpus_path() -> Path:
    """Return the path of the plain text, one document per line, for the demo models' covariances."""
    return _FOLDER / "text" / "corpus.txt"


def demo_heldout_path() -> Path:
    """Return the path of the plain text, one document per line, for perplexity; see `corpus.heldout_text`."""
    return _FOLDER / "text" / "heldout.txt"


def new_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of 4,096 tokens. It emits no token_type_ids: GPT-J would add them to its embeddings."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=_POSITIONS,
        bos_token=_END_OF_TEXT,
        eos_token=_END_OF_TEXT,
        unk_token=_END_OF_TEXT,
        pad_token=_END_OF_TEXT,
    )


def new_model(architecture: Architecture) -> GPTJForCausalLM | GPTNeoXForCausalLM:
    """Return an untrained model in float32, initialised from torch's global generator."""
    return _new_gptj() if architecture == "gptj" else _new_gptneox()


def _new_gptj() -> GPTJForCausalLM:
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(
        vocab_size=_VOCABULARY,
        n_positions=_POSITIONS,
        n_embd=_WIDTH,
        n_layer=_LAYERS,
        n_head=_HEADS,
        rotary_dim=_ROTARY,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    return GPTJForCausalLM(config)


def _new_gptneox() -> GPTNeoXForCausalLM:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=_VOCABULARY,
        max_position_embeddings=_POSITIONS,
        hidden_size=_WIDTH,
        intermediate_size=4 * _WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": _ROTARY * _HEADS / _WIDTH,
        },
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    return GPTNeoXForCausalLM(config)
