"""One pass over a corpus: after a kill it goes on at the right token, and nothing that is held out is counted."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from editing_core.covariance.collecting import Pass, collect
from editing_core.covariance.corpus import WindowReader, token_windows
from editing_core.covariance.dataset import open_dataset
from tests.support.small_datasets import boats, write_parquet
from tests.support.tiny_loaded import tiny_loaded
from tests.support.tiny_models import tiny_tokenizer

WANTED = Pass(layers=(0, 1), num_tokens=3_000, window=64)
KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from editing_core.covariance.collecting import collect
from editing_core.covariance.dataset import open_dataset
from tests.support.tiny_loaded import tiny_loaded
from tests.unit.editing_core.covariance.test_collecting import WANTED

wanted = replace(WANTED, batch_tokens=256, save_every_seconds=0.0, save_share=float("inf"))
kill = lambda done: os.kill(os.getpid(), signal.SIGKILL) if done > 1_000 else None
corpus = open_dataset(sys.argv[1], column="text")
collect(tiny_loaded("gptj"), corpus, wanted, folder=Path(sys.argv[2]), on_tokens=kill)
"""


@dataclass(frozen=True)
class Texts:
    """A corpus in memory."""

    texts: Sequence[str]

    def digest(self) -> str:
        return "none"

    def documents(self, *, heldout: bool) -> Iterator[str]:
        return iter(() if heldout else self.texts)


@pytest.mark.parametrize("stop", range(1, 12, 3))
def test_a_reader_that_is_given_anothers_place_goes_on_behind_its_last_window(stop: int) -> None:
    tokenizer, texts = tiny_tokenizer(), ["a long one. " * 40, *boats(6), "short", "another long one. " * 40]
    whole = list(token_windows(iter(texts), tokenizer, num_tokens=50))
    first = WindowReader(tokenizer=tokenizer, num_tokens=50)
    windows = first.read(iter(texts))
    head = [next(windows) for _ in range(stop)]
    second = WindowReader(
        tokenizer=tokenizer, num_tokens=50, num_documents=first.num_documents, waiting=deque(first.waiting)
    )
    assert head + list(second.read(iter(texts))) == whole
    assert len(whole) > 12


def test_windows_are_the_documents_with_an_end_of_text_after_each() -> None:
    tokenizer, texts = tiny_tokenizer(), boats(20)
    packed = [token for window in token_windows(iter(texts), tokenizer, num_tokens=32) for token in window]
    assert "<|endoftext|>".join(texts).startswith(tokenizer.decode(packed).removesuffix("<|endoftext|>"))


def test_a_pass_over_a_dataset_that_was_killed_goes_on_without_counting_a_document_twice(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "boats", boats(1_500))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(tmp_path / "a")], check=False)
    assert killed.returncode == -signal.SIGKILL

    wanted = replace(WANTED, batch_tokens=256)
    loaded, corpus, seen = tiny_loaded("gptj"), open_dataset(str(folder), column="text"), []
    again = collect(loaded, corpus, wanted, folder=tmp_path / "a", on_tokens=seen.append)
    whole = collect(loaded, corpus, wanted, folder=tmp_path / "b", on_tokens=lambda done: None)

    assert seen[0] > 1_000
    assert again.num_tokens == whole.num_tokens
    assert all(torch.equal(again.sums[layer], whole.sums[layer]) for layer in WANTED.layers)
    assert again.changes_since_half_way() == whole.changes_since_half_way()


def test_no_held_out_document_reaches_the_sums(tmp_path: Path) -> None:
    loaded, corpus = tiny_loaded("gptj"), open_dataset(str(write_parquet(tmp_path, boats(150))), column="text")
    rows: list[list[int]] = []
    embedding = loaded.model.get_input_embeddings()
    embedding.register_forward_pre_hook(lambda _module, inputs: rows.extend(inputs[0].tolist()))
    wanted = Pass(layers=(0,), num_tokens=1_000_000, window=16)
    collect(loaded, corpus, wanted, folder=tmp_path, on_tokens=lambda done: None)
    counted = loaded.tokenizer.decode([token for row in rows for token in row])
    assert all(text not in counted for text in corpus.documents(heldout=True))
    assert sum(text in counted for text in corpus.documents(heldout=False)) >= 146  # the rest fills no window


def test_blocks_above_the_last_edited_layer_are_not_run(tmp_path: Path) -> None:
    loaded = tiny_loaded("gpt_neox")
    runs = [0, 0, 0, 0]

    def count(layer: int) -> None:
        runs[layer] += 1

    blocks = loaded.family.base_model(loaded.model).get_submodule(loaded.family.blocks).children()
    for layer, block in enumerate(blocks):
        block.register_forward_pre_hook(lambda _module, _inputs, layer=layer: count(layer))
    collect(loaded, Texts(boats(300)), WANTED, folder=tmp_path, on_tokens=lambda done: None)
    assert runs[0] == runs[1] > 0
    assert runs[2:] == [0, 0]
