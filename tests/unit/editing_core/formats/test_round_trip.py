"""What is written as JSONL or CSV reads back the same, whatever the texts hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editing_core.edits import Edit, Neighbor
from editing_core.formats.own import as_input, write_lines
from editing_core.formats.reading import read_edit_file
from editing_core.formats.tables import write_table

texts = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="{}"), min_size=1, max_size=20).map(
    lambda text: f"{text}x"
)
"""Texts that an edit may hold; all have a character that can be seen."""
templates = st.tuples(texts, texts).map(lambda parts: f"{parts[0]}{{}}{parts[1]}")
neighbors = st.builds(Neighbor, prompt=texts, target=st.none() | texts)
free = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
edits = st.builds(
    Edit,
    subject=texts,
    prompt=templates,
    target_new=texts,
    relation=texts,
    target_true=st.none() | texts,
    paraphrases=st.lists(texts | templates, max_size=3).map(tuple),
    neighborhood=st.lists(neighbors, max_size=3).map(tuple),
    source=free,
    note=free,
    protect=st.booleans(),
)


@pytest.mark.parametrize(("name", "write"), [("e.jsonl", write_lines), ("e.csv", write_table)])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(edits, min_size=1, max_size=4, unique_by=lambda edit: edit.identity))
def test_what_is_written_reads_back_the_same(
    tmp_path: Path, name: str, write: Callable[[Iterable[Edit]], str], made: list[Edit]
) -> None:
    path = tmp_path / name
    path.write_bytes(write(made).encode())
    assert read_edit_file(path).edits == tuple(as_input(edit) for edit in made)
