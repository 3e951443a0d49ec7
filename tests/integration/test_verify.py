"""``errata verify`` against a real Redis and a real service: disk, ledger and memory are compared, damage is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from editing_core.versions.identity import bind_identity, open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.cli.main import run
from service.cli.output import ExitCode
from service.generation.runtime import GenerationRuntime
from tests.support.generation import changed_weights, publish, serving, write_version
from tests.support.redis_server import open_bench
from tests.support.tiny_loaded import tiny_loaded
from worker.protocol.connections import connect
from worker.protocol.keys import Key
from worker.protocol.ledger.ledger import Ledger

LOADED = tiny_loaded("gptj")


@dataclass
class Place:
    store: VersionStore
    ledger: Ledger
    runtime: GenerationRuntime
    options: tuple[str, ...]

    def verify(self, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
        code = run(["verify", "--json", *self.options])
        found = json.loads(capsys.readouterr().out)
        return code, {row["what"]: row for row in found}


@pytest.fixture
def place(redis_url: str, tmp_path: Path) -> Iterator[Place]:
    """v1 live and in memory, v2 kept."""
    bind_identity(tmp_path, model=LOADED.fingerprint, model_source="tiny")
    store, identity = VersionStore(StoreLayout(tmp_path)), open_identity(tmp_path)
    with open_bench(redis_url) as opened:
        bench = replace(opened, store_id=identity.id)
        for version in ("v2", "v1"):
            manifest = write_version(store, LOADED, version).model_copy(update={"store": identity.id})
            store.remove(version)
            publish(bench.ledger, store.write(manifest, changed_weights(LOADED, seed=int(version[1:]))))
        store.write_head(bench.ledger.versions.pointer().revision, "v1")
        with serving(bench, store, LOADED, num_places=2) as (runtime, client):
            options = ("--data", str(tmp_path), "--redis", redis_url, "--url", str(client.base_url))
            yield Place(store=store, ledger=bench.ledger, runtime=runtime, options=options)


def test_an_intact_store_shows_no_difference(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = place.verify(capsys)
    assert (code, [row for row in found.values() if row["problem"]]) == (ExitCode.OK, [])
    digest = place.store.read_manifest("v1").digest
    assert [found[what]["detail"] for what in ("version v1", "ledger, v1", "memory, v1 (live)")] == [digest] * 3
    assert found["pointer"]["detail"] == "promotion 2, version v1, in HEAD too"


def test_one_flipped_bit_of_a_delta_file_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    file = place.store.layout.tensor_file("v2")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1 << 5
    file.write_bytes(content)
    code, found = place.verify(capsys)
    assert code == ExitCode.FAILED
    assert [what for what, row in found.items() if row["problem"]] == ["version v2"]
    assert str(file) in found["version v2"]["problem"]
    assert run(["verify", *place.options]) == ExitCode.FAILED
    shown = capsys.readouterr()
    assert "DIFFERS" in shown.out
    assert shown.err.splitlines()[-1].startswith("errata: version v2: version v2 is damaged: ")


def test_one_flipped_bit_in_memory_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    live = place.runtime._residents.live
    assert live is not None
    name = next(iter(changed_weights(LOADED, seed=1)))
    live.model.get_parameter(name).detach().view(torch.int32)[0, 0] ^= 1
    code, found = place.verify(capsys)
    assert (code, [what for what, row in found.items() if row["problem"]]) == (ExitCode.FAILED, ["memory, v1 (live)"])
    assert "in the memory of http://" in found["memory, v1 (live)"]["problem"]


def test_a_ledger_that_knows_less_or_other_digests_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.store.write_head(9, "v2")
    place.store.remove("v2")
    code, found = place.verify(capsys)
    assert code == ExitCode.FAILED
    assert {what for what, row in found.items() if row["problem"]} == {"HEAD", "pointer", "ledger, v2"}
    assert "errata recover" in found["pointer"]["problem"]
    assert "no manifest that can be read on disk" in found["ledger, v2"]["problem"]


def test_files_a_step_behind_are_no_fault(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.ledger.publication.promote("v2", author=None)
    code, found = place.verify(capsys)
    assert (code, "which the worker mends" in found["pointer"]["detail"]) == (ExitCode.OK, True)


@pytest.mark.slow
def test_unreachable_parts_are_reported_and_not_compared(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    bind_identity(other, model=LOADED.fingerprint, model_source="tiny")
    nobody = f"unix://{tmp_path}/nobody.sock"
    assert run(["verify", "--json", "--data", str(other), "--redis", nobody, *place.options[-2:]]) == ExitCode.OK
    reported = {row["what"]: row["detail"] for row in json.loads(capsys.readouterr().out)}
    assert reported["ledger"].startswith("not reached, not compared: ")
    assert reported["memory"].endswith("serves another store")
    with connect(place.options[3]) as redis:
        redis.delete(place.ledger.keys.at(Key.POINTER))
    assert "the ledger knows none" in place.verify(capsys)[1]["pointer"]["detail"]


def test_a_folder_without_a_store_is_refused_and_not_made_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", "--data", str(tmp_path)]) == ExitCode.USAGE
    assert "there is no version store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_held_in_memory_and_no_longer_kept_is_no_damage(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    url = place.options[-1]
    assert httpx.get(f"{url}/generate", params={"prompt": "x", "version": "v2"}).status_code == 200
    place.ledger.publication.mark_removed(["v2"])
    place.store.remove("v2")
    code, found = place.verify(capsys)
    assert (code, [row for row in found.values() if row["problem"]]) == (ExitCode.OK, [])
    assert "memory, v2" not in found or "no longer kept on disk" in found["memory, v2"]["detail"]
