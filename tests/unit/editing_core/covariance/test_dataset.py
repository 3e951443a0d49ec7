"""A dataset as a corpus: rows are documents, one in fifty is held out, a mistake is told by name; no network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from editing_core.covariance.dataset import HELDOUT_EVERY, open_dataset
from editing_core.covariance.defaults import corpus_for
from editing_core.errors import InvalidSettings
from tests.support.small_datasets import boats, write_json_lines, write_parquet

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Write = Callable[..., Path]


def _read(named: str | Path, *, heldout: bool = False, column: str = "text") -> list[str]:
    return list(open_dataset(str(named), column=column).documents(heldout=heldout))


@pytest.mark.parametrize("write", [write_parquet, write_json_lines])
def test_rows_are_documents_and_every_fiftieth_that_is_not_blank_is_held_out(write: Write, tmp_path: Path) -> None:
    texts = boats(120)
    rows: list[str | None] = [*texts[:70], "  \n", None, "", *texts[70:]]
    folder = write(tmp_path / "boats", rows)
    assert _read(folder, heldout=True) == texts[::HELDOUT_EVERY]
    assert _read(folder) == [text for i, text in enumerate(texts) if i % HELDOUT_EVERY]


def test_lines_of_text_files_in_a_folder_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"line {i}\n" for i in range(60)))
    assert _read(tmp_path, heldout=True) == ["line 0", "line 50"]
    assert len(_read(tmp_path)) == 58


def test_a_split_is_chosen_by_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "boats", boats(60))
    write_parquet(tmp_path / "boats", ["one", "two"], split="test")
    assert _read(f"{tmp_path / 'boats'}@test") == ["two"]
    assert len(_read(tmp_path / "boats")) == 58


def test_a_configuration_is_chosen_by_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "both" / "boats", boats(60))
    write_parquet(tmp_path / "both" / "few", ["one", "two"])
    (tmp_path / "both" / "README.md").write_text(
        "---\nconfigs:\n- config_name: boats\n  data_files: boats/*.parquet\n"
        "- config_name: few\n  data_files: few/*.parquet\n---\n"
    )
    assert _read(f"{tmp_path / 'both'}:few@train") == ["two"]
    with pytest.raises(InvalidSettings, match=r"other@train: BuilderConfig 'other' not found.*boats.*few"):
        _read(f"{tmp_path / 'both'}:other")


def test_the_digest_follows_content_and_choice_and_not_the_place(tmp_path: Path) -> None:
    here = write_parquet(tmp_path / "here", boats(60))
    write_parquet(here, ["one"], split="test")
    there = write_parquet(tmp_path / "there", boats(60))
    write_parquet(there, ["one"], split="test")
    other = write_parquet(tmp_path / "other", boats(61))
    digest = open_dataset(str(here), column="text").digest()
    assert open_dataset(str(there), column="text").digest() == digest
    others = [
        open_dataset(str(other), column="text"),
        open_dataset(f"{here}@test", column="text"),
        open_dataset(str(here), column="number"),
    ]
    assert len({digest, *(corpus.digest() for corpus in others)}) == 4


def test_a_dataset_of_the_hub_is_known_by_its_commit_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "datasets--harbour--boats"
    (cached / "snapshots" / COMMIT).mkdir(parents=True)
    (cached / "snapshots" / COMMIT / "README.md").write_text("---\n---\n")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)

    corpus = open_dataset("harbour/boats:small@test", column="body")

    assert (corpus.name, corpus.config, corpus.split, corpus.commit) == ("harbour/boats", "small", "test", COMMIT)
    assert corpus.digest() == open_dataset("harbour/boats:small@test", column="body").digest()
    assert corpus.digest() != open_dataset("harbour/boats:large@test", column="body").digest()


def test_a_dataset_that_is_not_there_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "one"}\n')
    with pytest.raises(InvalidSettings, match=r"\./nowhere': there is no such folder"):
        open_dataset("./nowhere", column="text")
    with pytest.raises(InvalidSettings, match=r"rows\.jsonl' is a file: give its folder"):
        open_dataset(str(file), column="text")
    with pytest.raises(InvalidSettings, match=r"'harbour/none' is not a folder, and could not be found on the Hugging"):
        open_dataset("harbour/none", column="text")
    with pytest.raises(InvalidSettings, match="neither a folder nor a Hugging Face id"):
        open_dataset("bad name", column="text")
    for named in ("boats@", "boats:@train", "@train", ":small"):
        with pytest.raises(InvalidSettings, match=r"not of the form NAME\[:CONFIG\]\[@SPLIT\]"):
            open_dataset(named, column="text")


def test_split_and_column_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "boats", boats(60))
    with pytest.raises(InvalidSettings, match=r"boats@dev: Bad split: dev\. Available splits: \['train'\]"):
        _read(f"{folder}@dev")
    with pytest.raises(InvalidSettings, match=r"has no column 'body'; columns with text: text \(--text-column\)"):
        _read(folder, column="body")
    with pytest.raises(InvalidSettings, match=r"column 'number' holds int64, not text; columns with text: text"):
        _read(folder, column="number")


def test_a_dataset_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InvalidSettings, match=r"nothing@train: The directory at .* doesn't contain any data files"):
        _read(tmp_path / "nothing")
    with pytest.raises(InvalidSettings, match="there is no text in column 'text'"):
        _read(write_parquet(tmp_path / "blank", [" ", None]), heldout=True)
    with pytest.raises(InvalidSettings, match="empty@train: nothing in it could be read"):
        _read(write_json_lines(tmp_path / "empty", []))
    with pytest.raises(InvalidSettings, match=r"rowless@train: "):
        _read(write_parquet(tmp_path / "rowless", []))


def test_damaged_data_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "boats", boats(60))
    file = folder / "train.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InvalidSettings, match=r"dataset .*boats@train: "):
        _read(folder)


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InvalidSettings, match=r"pip install 'errata\[datasets\]'"):
        open_dataset(str(tmp_path), column="text")


def test_files_together_with_a_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="give one of ERRATA_CORPUS and ERRATA_DATASET"):
        corpus_for("demo-gptj", [tmp_path / "a.txt"], dataset="boats")
