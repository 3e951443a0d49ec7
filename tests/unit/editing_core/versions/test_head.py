"""HEAD is the latest pointer that was written, or it is named as damaged."""

from __future__ import annotations

import pytest

from editing_core.errors import StoreDamaged
from editing_core.versions.head import Head
from editing_core.versions.store import VersionStore


def test_head_is_read_back_and_an_earlier_revision_does_not_replace_it(store: VersionStore) -> None:
    assert store.read_head() is None
    assert store.write_head(3, "v2")
    assert not store.write_head(2, "v1")
    assert store.read_head() == Head(revision=3, version="v2")
    assert store.write_head(4, "v1")
    assert store.read_head() == Head(revision=4, version="v1")


@pytest.mark.parametrize("content", ["", "{}", '{"revision": -1, "version": "v1"}', '{"revision": 1, "version": "x"}'])
def test_a_head_that_cannot_be_read_is_damage(store: VersionStore, content: str) -> None:
    store.layout.root.mkdir(parents=True)
    store.layout.head.write_text(content)
    with pytest.raises(StoreDamaged, match="HEAD"):
        store.read_head()
