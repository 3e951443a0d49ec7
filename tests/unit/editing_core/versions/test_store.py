"""A version is on disk complete and as written, or it is named and not served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from editing_core.durable import write_durably
from editing_core.errors import NotFound, StoreDamaged, StoreError
from editing_core.versions.identity import open_identity
from editing_core.versions.manifest import EMPTY_DIGEST, EMPTY_TENSOR_FILE, encode_manifest
from editing_core.versions.store import VersionStore
from tests.unit.editing_core.versions.examples import NAME, accepted, manifest, tensors


def test_a_written_version_is_read_back_as_it_was(store: VersionStore) -> None:
    written = store.write(manifest(), tensors())
    assert store.read_manifest("v1") == written
    loaded = store.load_tensors("v1", "cpu")
    assert loaded.keys() == tensors().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors().items())
    assert store.list() == ["v0", "v1"]


def test_the_manifest_alone_has_edits_provenance_batches_and_acceptance(store: VersionStore) -> None:
    store.write(manifest(), tensors())
    found = store.read_manifest("v1")
    assert found.live == (accepted(1), accepted(2))
    assert found.batches["b1"]["acceptance"] == 4
    assert found.batches["b1"]["author"] == "ann"
    assert (found.parent, found.model_fingerprint, found.settings["prior_weight"]) == ("v0", "f" * 64, 30.0)


def test_equal_weights_have_equal_digests_and_others_do_not(store: VersionStore) -> None:
    one = store.write(manifest("v1"), tensors())
    same = store.write(manifest("v2"), dict(reversed(tensors().items())))
    other = store.write(manifest("v3"), tensors(1.5))
    assert one.digest == same.digest != other.digest


def test_the_tensor_file_holds_exactly_the_bytes_given(store: VersionStore) -> None:
    weight = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)).T
    store.write(manifest(), {NAME: weight, "half": weight.bfloat16()})
    loaded = store.load_tensors("v1", "cpu")
    assert torch.equal(loaded[NAME], weight)
    assert loaded["half"].dtype == torch.bfloat16
    assert torch.equal(loaded["half"], weight.bfloat16())


def test_v0_is_always_there_and_has_no_tensors(store: VersionStore) -> None:
    found = store.read_manifest("v0")
    assert store.load_tensors("v0", "cpu") == {}
    assert (found.digest, found.live, found.parent) == (EMPTY_DIGEST, (), None)
    assert found.store == open_identity(store.layout.root).id
    assert store.list() == ["v0"]


def test_the_digest_of_v0_is_that_of_a_tensor_file_without_tensors() -> None:
    assert safetensors.torch.save({}) == EMPTY_TENSOR_FILE


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_in_the_tensors_is_named_with_both_digests(store: VersionStore) -> None:
    written = store.write(manifest(), tensors())
    path = store.layout.tensor_file("v1")
    flip_byte(path, -1)
    with pytest.raises(StoreDamaged) as caught:
        store.load_tensors("v1", "cpu")
    for part in ("version v1", str(path), str(written.digest), "now has sha256:"):
        assert part in str(caught.value)


def test_a_flipped_byte_in_an_edit_of_the_manifest_is_noticed(store: VersionStore) -> None:
    store.write(manifest(), tensors())
    path = store.layout.manifest_file("v1")
    flip_byte(path, path.read_bytes().index(b"English"))
    with pytest.raises(StoreDamaged, match="changed after it was written"):
        store.read_manifest("v1")
    assert store.list() == ["v0"]


@pytest.mark.parametrize("missing", ["manifest.json", "tensors.safetensors"])
def test_a_version_without_one_of_its_files_is_named_and_not_listed(store: VersionStore, missing: str) -> None:
    store.write(manifest(), tensors())
    (store.layout.version_dir("v1") / missing).unlink()
    assert store.list() == ["v0"]
    assert missing in store.damaged()["v1"]
    with pytest.raises(StoreDamaged, match=missing):
        store.load_tensors("v1", "cpu")


@pytest.mark.parametrize("name", ["manifest.json", "tensors.safetensors"])
def test_a_version_with_a_file_cut_short_is_named_and_not_listed(store: VersionStore, name: str) -> None:
    store.write(manifest(), tensors())
    path = store.layout.version_dir("v1") / name
    path.write_bytes(path.read_bytes()[:-20])
    assert store.list() == ["v0"]
    assert set(store.damaged()) == {"v1"}


def test_a_tensor_file_of_another_version_is_refused(store: VersionStore) -> None:
    store.write(manifest("v1"), tensors())
    store.write(manifest("v2"), tensors(2.0))
    store.layout.tensor_file("v2").replace(store.layout.tensor_file("v1"))
    with pytest.raises(StoreDamaged, match="version v1 is damaged"):
        store.load_tensors("v1", "cpu")


@pytest.mark.parametrize("number", [0, 9], ids=["earlier", "later"])
def test_a_manifest_of_another_format_is_refused_by_name_with_the_way_out(store: VersionStore, number: int) -> None:
    store.write(manifest().model_copy(update={"format": number}), tensors())
    with pytest.raises(StoreDamaged, match=f"format {number}, and this Errata reads format 1: use the Errata that"):
        store.read_manifest("v1")


def test_a_number_that_json_does_not_know_leaves_no_version(store: VersionStore) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        store.write(manifest().model_copy(update={"delta_norms": {NAME: float("nan")}}), tensors())
    assert store.list() == ["v0"]
    assert list(store.layout.versions_dir.iterdir()) == []


def test_a_version_number_is_never_written_twice(store: VersionStore) -> None:
    first = store.write(manifest(), tensors())
    with pytest.raises(StoreError, match="never used twice"):
        store.write(manifest(), tensors(2.0))
    assert store.read_manifest("v1") == first


@pytest.mark.parametrize("name", ["v7", "", "..", "../v1", "v01", "V1", "v1/..", "v٣"])
def test_an_unknown_version_is_not_found(store: VersionStore, name: str) -> None:
    store.write(manifest(), tensors())
    with pytest.raises(NotFound):
        store.read_manifest(name)
    with pytest.raises(NotFound):
        store.load_tensors(name, "cpu")


def test_a_removed_version_is_gone(store: VersionStore) -> None:
    store.write(manifest(), tensors())
    store.remove("v1")
    assert store.list() == ["v0"]
    assert list(store.layout.versions_dir.iterdir()) == []
    with pytest.raises(NotFound):
        store.remove("v1")


def test_v0_cannot_be_removed(store: VersionStore) -> None:
    with pytest.raises(NotFound):
        store.remove("v0")


def test_a_manifest_is_plain_json_with_its_seal(store: VersionStore) -> None:
    store.write(manifest(), tensors())
    record = json.loads(store.layout.manifest_file("v1").read_text())
    assert record["seal"].startswith("sha256:")
    assert record["edits"][0]["edit"]["subject"] == "Subject 1 日本 🙂"


def test_a_manifest_is_written_as_json_writes_it_whatever_the_texts_hold() -> None:
    odd = replace(accepted(1), id="e9", author='"\\\b\f\n\t\r\x01\x7f\u2028 日本 🙂')
    for edits in ((), (odd.to_json(),)):
        made = manifest().model_copy(update={"edits": edits, "superseded": (accepted(2).to_json(),)})
        content = encode_manifest(made).decode()
        assert content == json.dumps(json.loads(content), ensure_ascii=False, indent=1) + "\n"


def test_a_kept_manifest_is_read_again_after_its_file_was_replaced(store: VersionStore) -> None:
    store.write(manifest(), tensors())
    keeping = VersionStore(store.layout, keep_manifest=True)
    first = keeping.read_manifest("v1")
    assert keeping.read_manifest("v1") is first
    path = store.layout.manifest_file("v1")
    changed = encode_manifest(first.model_copy(update={"edits": (accepted(1).to_json(),)}))
    write_durably(path, lambda file: file.write_bytes(changed))
    assert keeping.read_manifest("v1").live == (accepted(1),)
    write_durably(path, lambda file: file.write_bytes(changed[:-20]))
    assert set(keeping.damaged()) == {"v1"}


def test_a_copy_with_other_edits_has_another_set() -> None:
    made = manifest()
    assert made.live == (accepted(1), accepted(2))
    fewer = made.model_copy(update={"edits": (accepted(2).to_json(),)})
    assert (fewer.live, fewer.edit_set.live) == ((accepted(2),), (accepted(2),))
