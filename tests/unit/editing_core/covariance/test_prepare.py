"""A model's artefacts: the second moment is the formula's, work can be taken up again, inputs are keyed and checked."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing_core.covariance.corpus import token_windows
from editing_core.covariance.prepare import PrepareOptions, artefact_key, asked_tokens, prepare
from editing_core.covariance.text_files import open_text_files
from editing_core.errors import InvalidSettings, StoreDamaged
from tests.support.tiny_loaded import tiny_loaded
from tests.support.tiny_models import TinyFamily

OPTIONS = PrepareOptions(layers=(0, 1), num_tokens=3_000)


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    file.write_text("".join(f"The {i}th boat sailed to harbour {i * 7 % 31} before it rained.\n" for i in range(1200)))
    return file


@pytest.mark.parametrize("family", ["gptj", "gpt_neox"])
def test_the_covariance_is_the_mean_of_the_keys_second_moment(
    family: TinyFamily, corpus_file: Path, tmp_path: Path
) -> None:
    loaded, corpus = tiny_loaded(family), open_text_files([corpus_file])
    made = prepare(loaded, corpus, OPTIONS, root=tmp_path / "made")

    window = artefact_key(loaded, corpus, OPTIONS).window
    ids = list(token_windows(corpus.documents(heldout=False), loaded.tokenizer, num_tokens=window))
    rows = torch.tensor(ids[: made.num_tokens // window])
    keys: list[torch.Tensor] = []
    hook = loaded.family.projection_module(loaded.model, 1).register_forward_pre_hook(lambda _m, a: keys.append(a[0]))
    with torch.no_grad():
        loaded.model(input_ids=rows)
    hook.remove()
    flat = keys[0].flatten(0, 1).double()
    expected = (flat.T @ flat / len(flat)).float()
    # float32 sums of a few thousand products in two orders
    assert torch.allclose(made.covariances[1], expected, rtol=1e-4, atol=1e-6)


def test_interrupted_work_continues_with_the_same_result(corpus_file: Path, tmp_path: Path) -> None:
    loaded, corpus = tiny_loaded("gptj"), open_text_files([corpus_file])
    options = replace(OPTIONS, batch_tokens=256, save_every_seconds=0.0)
    whole = prepare(loaded, corpus, options, root=tmp_path / "whole")
    seen: list[int] = []

    def stop_half_way(what: str, done: int, total: int) -> None:
        if what == "covariances" and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(loaded, corpus, options, root=tmp_path / "again", on_progress=stop_half_way)
    again = prepare(
        loaded, corpus, options, root=tmp_path / "again", on_progress=lambda what, done, total: seen.append(done)
    )

    assert seen[0] > 256
    assert again.num_tokens == whole.num_tokens
    assert all(torch.equal(again.covariances[layer], whole.covariances[layer]) for layer in (0, 1))
    assert again.change_since_half == whole.change_since_half
    assert whole.change_since_half is not None
    assert 0 < whole.change_since_half < 1


def test_artefacts_are_read_back_as_they_were_made_and_differ_with_their_inputs(
    corpus_file: Path, tmp_path: Path
) -> None:
    loaded, corpus = tiny_loaded("gpt_neox"), open_text_files([corpus_file])
    made = prepare(loaded, corpus, OPTIONS, root=tmp_path / "a")
    read = prepare(loaded, corpus, OPTIONS, root=tmp_path / "a")
    assert read.fingerprint() == made.fingerprint()
    assert read.contexts == made.contexts
    assert torch.equal(read.probes.log_probs, made.probes.log_probs)
    keys = {
        artefact_key(loaded, corpus, options).folder_name()
        for options in (
            OPTIONS,
            PrepareOptions(layers=(0,), num_tokens=3_000),
            PrepareOptions(layers=(0, 1), num_tokens=3_001),
            PrepareOptions(layers=(0, 1), num_tokens=3_000, context_seed=1),
        )
    }
    assert len(keys) == 4


@pytest.mark.parametrize(("width", "asked"), [(768, 120_000), (4_096, 120_000), (16_384, 163_840)])
def test_ten_tokens_for_each_component_of_the_keys_are_asked_for_and_120_000_at_least(width: int, asked: int) -> None:
    loaded = tiny_loaded("gptj")
    config = copy(loaded.model.config)
    config.n_inner = width
    with torch.device("meta"):
        wide = replace(loaded, model=AutoModelForCausalLM.from_config(config))
    assert asked_tokens(wide, PrepareOptions(layers=(0,))) == asked


def test_changed_statistics_are_refused(corpus_file: Path, tmp_path: Path) -> None:
    loaded, corpus = tiny_loaded("gptj"), open_text_files([corpus_file])
    prepare(loaded, corpus, OPTIONS, root=tmp_path / "a")
    (file,) = (tmp_path / "a").glob("*/artefacts.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreDamaged, match="run `errata prepare` again"):
        prepare(loaded, corpus, OPTIONS, root=tmp_path / "a")


def test_held_out_text_is_in_no_statistic(corpus_file: Path) -> None:
    corpus = open_text_files([corpus_file])
    used, heldout = list(corpus.documents(heldout=False)), list(corpus.documents(heldout=True))
    assert used
    assert heldout
    assert not set(used) & set(heldout)
    assert len(used) + len(heldout) == 1200


def test_a_corpus_that_is_missing_too_short_or_not_text_is_refused_by_name(tmp_path: Path) -> None:
    loaded = tiny_loaded("gptj")
    with pytest.raises(InvalidSettings, match=r"absent\.txt: there is no such file"):
        open_text_files([tmp_path / "absent.txt"])
    with pytest.raises(InvalidSettings, match="no corpus"):
        open_text_files([])
    short = tmp_path / "short.txt"
    short.write_text("One line.\n")
    with pytest.raises(InvalidSettings, match="held out for probes and perplexity has 0 tokens; 128 are needed"):
        prepare(loaded, open_text_files([short]), OPTIONS, root=tmp_path / "a")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(InvalidSettings, match=r"binary\.txt, line 2: not UTF-8"):
        list(open_text_files([binary]).documents(heldout=False)) + list(
            open_text_files([binary]).documents(heldout=True)
        )
