"""Small datasets in folders, as Parquet, JSON lines and text: Hugging Face datasets that need no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def boats(num_rows: int) -> list[str]:
    """Documents of two lines each, all different."""
    return [f"The {i}th boat sailed to harbour {i * 7 % 31}.\nIt rained on day {i % 9}." for i in range(num_rows)]


def write_parquet(folder: Path, texts: Sequence[str | None], *, split: str = "train") -> Path:
    """One file with a column of text and one of numbers, in row groups of 100."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"text": pa.array(texts, pa.string()), "number": list(range(len(texts)))})
    pq.write_table(table, folder / f"{split}.parquet", row_group_size=100)
    return folder


def write_json_lines(folder: Path, texts: Sequence[str | None], *, split: str = "train") -> Path:
    """The same as one JSON object a line."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps({"text": text, "number": i}) + "\n" for i, text in enumerate(texts))
    (folder / f"{split}.jsonl").write_text("".join(rows))
    return folder
