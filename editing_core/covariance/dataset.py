"""A Hugging Face dataset as a corpus, streamed. Each row is a document; every 50th non-blank one is held out.

A dataset is named as ``NAME[:CONFIG][@SPLIT]``. NAME is a Hub id or a folder of Parquet, JSON, CSV or text files. No
code of a dataset runs, and only its text column is decoded. Memory is bounded by the library's read-ahead, whatever
the size of the dataset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

from editing_core.errors import ErrataError, InvalidSettings

HELDOUT_EVERY = 50
"""The first of every 50 non-blank documents is held out."""
DEFAULT_SPLIT = "train"
_CARD = "README.md"
_TEXT_KINDS = ("string", "large_string")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCorpus:
    """One text column of one split."""

    name: str
    """Hub id, or path of a folder."""
    config: str | None
    """None: the dataset's default configuration."""
    split: str
    column: str
    commit: str | None
    """Commit of the Hub repository that is read; None if ``name`` is a folder."""

    def digest(self) -> str:
        """Return the sha256 of everything that determines the documents, without reading them: they are too many.

        For a dataset on the Hub: its name, commit, configuration, split and column. Nothing is fetched for this. For a
        folder, whatever its path: the content of all data files, configuration, split and column.
        """
        source = [self.name, self.commit] if self.commit is not None else self._file_digests()
        values = [source, self.config, self.split, self.column, f"held out: 1 of {HELDOUT_EVERY}"]
        return f"sha256:{hashlib.sha256(json.dumps(values).encode()).hexdigest()}"

    def documents(self, *, heldout: bool) -> Iterator[str]:
        """Yield the non-blank rows that are held out, or the others. Raises InvalidSettings."""
        number = -1
        for number, text in enumerate(self._texts()):
            if (number % HELDOUT_EVERY == 0) == heldout:
                yield text
        if number < 0:
            raise InvalidSettings(f"{self}: there is no text in column {self.column!r}")

    def __str__(self) -> str:
        """Return the dataset's name as users write it."""
        config = f":{self.config}" if self.config else ""
        return f"dataset {self.name}{config}@{self.split}"

    def _texts(self) -> Iterator[str]:
        with _explained(str(self)), closing(iter(self._stream())) as rows:
            for number, row in enumerate(rows, start=1):
                text = row[self.column]
                if text is not None and not isinstance(text, str):
                    kind = type(text).__name__
                    raise InvalidSettings(f"{self}, row {number}: column {self.column!r} holds {kind}, not text")
                if text and text.strip():
                    yield text.strip()

    def _stream(self) -> Any:
        rows = _library().load_dataset(self.name, self.config, split=self.split, streaming=True, revision=self.commit)
        self._require_text(_column_kinds(rows))
        return rows.select_columns([self.column])

    def _require_text(self, kinds: dict[str, str]) -> None:
        texts = [name for name, kind in kinds.items() if kind in _TEXT_KINDS]
        there = f"columns with text: {', '.join(texts) or 'none'}"
        if not kinds:
            raise InvalidSettings(f"{self} is empty: it has no row")
        if self.column not in kinds:
            raise InvalidSettings(f"{self} has no column {self.column!r}; {there} (--text-column)")
        if self.column not in texts:
            raise InvalidSettings(
                f"{self}: column {self.column!r} holds {kinds[self.column]}, not text; {there} (--text-column)"
            )

    def _file_digests(self) -> dict[str, list[str]]:
        """Return the sha256 of each data file by split, in reading order; for a remote file, its address."""
        with _explained(str(self)):
            builder = _library().load_dataset_builder(self.name, self.config)
            return {
                str(split): [_sha256(Path(file)) if Path(file).is_file() else str(file) for file in files]
                for split, files in builder.config.data_files.items()
            }


def open_dataset(named: str, *, column: str) -> DatasetCorpus:
    """Return the corpus that ``NAME[:CONFIG][@SPLIT]`` names.

    For a dataset on the Hub, the commit is the latest in the local cache, as for models. Without one, the Hub is asked.
    So existing artefacts are found without the Hub, and do not change with it. Configuration, split and column are
    checked when documents are read. Raises InvalidSettings.
    """
    _library()
    name, config, split = _parse(named)
    if Path(name).is_dir():
        return DatasetCorpus(name=name, config=config, split=split, column=column, commit=None)
    if Path(name).exists():
        raise InvalidSettings(f"dataset {name!r} is a file: give its folder, or --corpus for plain text")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InvalidSettings(f"dataset {name!r}: there is no such folder")
    return DatasetCorpus(name=name, config=config, split=split, column=column, commit=_latest_commit(name))


def _parse(named: str) -> tuple[str, str | None, str]:
    rest, split = named, DEFAULT_SPLIT
    if "@" in named and not Path(named).is_dir():
        rest, _, split = named.rpartition("@")
    name, config = rest, None
    if ":" in rest and not Path(rest).is_dir():
        name, _, config = rest.rpartition(":")
    if not name or not split or config == "":
        raise InvalidSettings(f"dataset {named!r} is not of the form NAME[:CONFIG][@SPLIT]")
    return name, config, split


def _latest_commit(name: str) -> str:
    """Return the latest commit from the cache, else from the Hub. The Hub's answer is cached with the card."""
    try:
        return Path(hf_hub_download(name, _CARD, repo_type="dataset", local_files_only=True)).parent.name
    except HFValidationError as error:
        raise InvalidSettings(f"dataset {name!r} is neither a folder nor a Hugging Face id: {error}") from None
    except LocalEntryNotFoundError:
        pass
    with _explained(f"dataset {name!r} is not a folder, and could not be found on the Hugging Face Hub"):
        try:
            return Path(hf_hub_download(name, _CARD, repo_type="dataset")).parent.name
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:  # the dataset has no card
            return str(HfApi().dataset_info(name).sha)


def _column_kinds(rows: Any) -> dict[str, str]:
    """Return the type of each column; empty if the dataset has no rows and no description."""
    if rows.features is not None:
        return {name: str(getattr(feature, "dtype", feature)) for name, feature in rows.features.items()}
    with closing(iter(rows)) as some:
        first: dict[str, Any] = next(some, {})
    return {name: "string" if isinstance(value, str) else type(value).__name__ for name, value in first.items()}


def _library() -> Any:
    """Return the package ``datasets``, which is an optional dependency."""
    try:
        library: Any = import_module("datasets")
    except ImportError:
        raise InvalidSettings("--dataset needs the package datasets: pip install 'errata[datasets]'") from None
    library.disable_progress_bars()  # the command shows its own
    return library


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn any error of the library into InvalidSettings, since it does not document a closed set of errors."""
    try:
        yield
    except ErrataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or f"nothing in it could be read ({type(error).__name__})"
        raise InvalidSettings(f"{what}: {reason}") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
