"""Guards, protected neighbours and edits that are already true through a real worker, Redis and store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from editing_core.asking.scoring import score_targets
from editing_core.edits import Edit, Neighbor
from editing_core.guards import Guard
from editing_core.models.load import LoadedModel, load_model
from editing_core.versions.layout import StoreLayout
from editing_core.versions.manifest import EMPTY_DIGEST, Manifest
from tests.support.facts import fact
from tests.support.redis_server import running_redis
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchState
from worker.recovery import reconcile_pointer
from worker.upkeep.guard_file import copy_guards, read_guards


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@pytest.fixture(scope="module")
def place(prepared: PreparedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerBench]:
    folder = tmp_path_factory.mktemp("place")
    with running_redis(folder / "redis") as redis:
        bench = prepared.bench(folder / "data", redis.url, reconcile_seconds=0.5)
        with bench.worker():
            yield bench


@pytest.fixture(scope="module")
def loaded(prepared: PreparedModel) -> LoadedModel:
    return load_model(str(prepared.settings["model"]), device="cpu", dtype="float32")


@pytest.fixture(autouse=True)
def _from_the_original(place: WorkerBench) -> None:
    place.ledger.publication.promote("v0", author=None)
    for guard in place.ledger.guards.all():
        place.ledger.guards.remove(guard.id, author="eve")


def first_word(loaded: LoadedModel, prompt: str) -> str:
    """What the model says anyhow, as a target of one token."""
    choice = score_targets(loaded.model, loaded.tokenizer, [(prompt, "x")])[0].first_choice
    text: str = loaded.tokenizer.decode([choice])
    return text


def say_true(loaded: LoadedModel) -> Edit:
    """An edit that asks for what the model says anyhow."""
    for n, verb in product(range(40), ("is", "was", "speaks", "lives in", "knows the", "and")):
        prompt = f"Number {n} {verb}"
        word = first_word(loaded, prompt)
        if word.strip().isalpha() and score_targets(loaded.model, loaded.tokenizer, [(prompt, word)])[0].greedy_match:
            return Edit(subject=f"Number {n}", prompt=f"{{}} {verb}", target_new=word, relation=verb)
    raise AssertionError("the tiny model answers with no word")


def live_manifest(place: WorkerBench, *edits: Edit) -> Manifest:
    record = place.wait(place.send(*edits))
    assert record.status == BatchState.APPLIED, record
    assert record.version is not None
    return place.store.read_manifest(record.version)


def guard(loaded: LoadedModel, subject: str) -> Guard:
    prompt = f"The home of {subject} is"
    return Guard(prompt=prompt, target=first_word(loaded, prompt), subject=subject)


def test_guards_count_from_the_next_version_on_and_are_recorded_with_it(
    place: WorkerBench, loaded: LoadedModel
) -> None:
    edits = (fact("Ada", "Rome"), fact("Chopin", "Oslo"))
    plain = live_manifest(place, *edits)
    place.ledger.publication.promote("v0", author=None)
    kept = place.ledger.guards.add([guard(loaded, "Borg"), guard(loaded, "Ada")], author="ann")
    guarded = live_manifest(place, *edits)
    assert guarded.digest != plain.digest
    assert set(guarded.accepted_guards) == set(kept)
    found = guarded.checks["guards"]
    assert isinstance(found, dict)
    assert found["total"] <= 2
    assert list(found["only_tested"]) == [kept[1].id], "an edit changes what the model knows of Ada"
    for row in place.ledger.guards.all():
        place.ledger.guards.remove(row.id, author="eve")
    place.ledger.publication.promote("v0", author=None)
    assert live_manifest(place, *edits).digest == plain.digest


def test_protected_and_unprotected_neighbours_are_counted_apart(place: WorkerBench) -> None:
    neighbors = (Neighbor(prompt="The mother tongue of Borg is"), Neighbor(prompt="The mother tongue of Zola is"))
    made = replace(fact("Ada", "Rome"), neighborhood=neighbors[:1], protect=True)
    other = replace(fact("Chopin", "Oslo"), neighborhood=neighbors[1:])
    manifest = live_manifest(place, made, other)
    assert [row.edit.protect for row in manifest.live if row.edit.subject == "Ada"] == [True]
    found = {row.edit.subject: place.ledger.edits.get(row.id).report for row in manifest.live}
    for subject, is_protected in (("Ada", True), ("Chopin", False)):
        report = found[subject]
        assert report is not None
        assert {row["protected"] for row in report["neighbors"]["prompts"]} <= {is_protected}
    reported = manifest.checks["specificity"]
    assert isinstance(reported, dict)
    assert reported["total"] == reported["protected"]["total"] + reported["unprotected"]["total"]


def test_an_edit_that_is_already_true_needs_no_z_and_reports_it(place: WorkerBench, loaded: LoadedModel) -> None:
    before = set(place.store.layout.targets_dir.rglob("*.safetensors"))
    manifest = live_manifest(place, say_true(loaded))
    (row,) = manifest.live
    assert manifest.digest == EMPTY_DIGEST
    assert set(place.store.layout.targets_dir.rglob("*.safetensors")) == before
    report = place.ledger.edits.get(row.id).report
    assert report is not None
    assert (report["already_true"], report["holds"], "search" in report) == (True, True, False)
    batch = place.ledger.batches.get(row.batch).report
    assert batch is not None
    assert batch["already_true"] == [row.id]


def test_reports_show_whether_z_reaches_its_target_and_the_nearest_key(place: WorkerBench) -> None:
    manifest = live_manifest(place, fact("Ada", "Rome"), fact("Chopin", "Oslo"))
    for row in manifest.live:
        report = place.ledger.edits.get(row.id).report
        assert report is not None
        assert report["reached"] is (report["search"]["nll"] <= 0.6931471805599453)
        assert report["nearest"]["edit"] in {other.id for other in manifest.live} - {row.id}
        batch = place.ledger.batches.get(row.batch).report
        assert batch is not None
        assert (row.id in batch["not_reached"]) is not report["reached"]


def test_guards_come_back_from_the_newest_manifest_when_redis_has_lost_its_memory(
    prepared: PreparedModel, loaded: LoadedModel, place: WorkerBench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = place.ledger.guards.add([guard(loaded, "Borg")], author="ann")
    live_manifest(place, fact("Ada", "Rome"))
    place.ledger.publication.promote("v0", author=None)
    reconcile_pointer(place.ledger, place.store)
    with running_redis(tmp_path_factory.mktemp("other")) as redis:
        fresh = WorkerBench(data=place.data, redis_url=redis.url, settings=prepared.settings)
        reconcile_pointer(fresh.ledger, fresh.store)
        assert fresh.ledger.versions.pointer().version == "v0"
        assert fresh.ledger.guards.all() == kept


def test_guards_that_no_version_has_seen_outlive_redis_and_removed_ones_stay_away(
    prepared: PreparedModel, loaded: LoadedModel, place: WorkerBench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place.ledger.guards.add([guard(loaded, "Borg")], author="ann")
    live_manifest(place, fact("Ada", "Rome"))
    for row in place.ledger.guards.all():
        place.ledger.guards.remove(row.id, author="ann")
    kept = place.ledger.guards.add([guard(loaded, "Chopin")], author="eve")
    copy_guards(place.ledger, place.store.layout)
    with running_redis(tmp_path_factory.mktemp("other")) as redis:
        fresh = WorkerBench(data=place.data, redis_url=redis.url, settings=prepared.settings)
        copy_guards(fresh.ledger, fresh.store.layout)
        reconcile_pointer(fresh.ledger, fresh.store)
        assert fresh.ledger.guards.all() == kept


@pytest.mark.parametrize("content", ["", "{", '{"guard": 1}', "[[]]", '[{"guard": {}}]'])
def test_a_copy_of_guards_that_cannot_be_read_counts_as_none(tmp_path: Path, content: str) -> None:
    layout = StoreLayout(tmp_path)
    assert read_guards(layout) is None
    layout.guards_file.write_text(content)
    assert read_guards(layout) is None
