"""A store has one id and belongs to one model and one set of settings, whichever process opens it first."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from editing_core.errors import StoreDamaged, StoreMismatch
from editing_core.versions.identity import StoreIdentity, bind_identity, open_identity
from editing_core.versions.layout import StoreLayout

ROOT = Path(__file__).parents[4]


def bind(root: Path, *, model: str = "a" * 64, settings: str = "s1", prior_weight: float = 30.0) -> StoreIdentity:
    return bind_identity(
        root,
        model=model,
        model_source="demo-gptj",
        settings=settings,
        settings_values={"prior_weight": prior_weight, "layers": (1, 2)},
    )


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    first = open_identity(tmp_path / "data")
    assert open_identity(tmp_path / "data") == first
    assert (first.model, first.settings) == (None, None)
    assert open_identity(tmp_path / "other").id != first.id


def test_processes_that_start_together_agree_on_the_identity(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from editing_core.versions.identity import open_identity\n"
        "print(open_identity(Path(sys.argv[1])).id)"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(4)
    ]
    ids = {starter.communicate()[0] for starter in starters}
    assert len(ids) == 1


def test_threads_that_bind_together_agree_and_leave_no_other_files(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        identities = set(pool.map(lambda _: open_identity(tmp_path).id, range(32)))
    assert len(identities) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]


def test_the_first_model_and_settings_hold(tmp_path: Path) -> None:
    bound = bind(tmp_path)
    assert bind(tmp_path) == bound == open_identity(tmp_path)
    assert bound.model is not None
    assert bound.model.fingerprint == "a" * 64


def test_another_model_is_refused_and_both_are_named(tmp_path: Path) -> None:
    bind(tmp_path)
    with pytest.raises(StoreMismatch, match=r"belongs to the model 'demo-gptj' \(aaaa.*not to .*\(bbbb"):
        bind(tmp_path, model="b" * 64)


def test_other_settings_are_refused_and_the_difference_is_named(tmp_path: Path) -> None:
    bind(tmp_path)
    with pytest.raises(
        StoreMismatch, match=r"prior_weight is 0\.001 here and 30\.0 in the store\. .*errata rebuild --out"
    ):
        bind(tmp_path, settings="s2", prior_weight=0.001)


def test_a_number_that_is_written_in_another_way_is_no_other_setting(tmp_path: Path) -> None:
    bound = bind(tmp_path)
    assert bind(tmp_path, settings="s2", prior_weight=30) == bound


def test_a_process_that_knows_the_model_alone_binds_the_model_alone(tmp_path: Path) -> None:
    bound = bind_identity(tmp_path, model="a" * 64, model_source="demo-gptj")
    assert bound.settings is None
    assert bind(tmp_path).settings is not None


@pytest.mark.parametrize("content", ["", "{", '{"format": 1}', '{"format": 7, "id": "x", "created": "now"}'])
def test_an_identity_that_cannot_be_read_is_damage(tmp_path: Path, content: str) -> None:
    StoreLayout(tmp_path).store_file.write_text(content)
    with pytest.raises(StoreDamaged, match=r"store\.json"):
        open_identity(tmp_path)


@pytest.mark.parametrize(("number", "more"), [(0, ""), (2, ', "shape": "another"')], ids=["earlier", "later"])
def test_a_store_of_another_format_is_refused_with_both_named_and_left_alone(
    tmp_path: Path, number: int, more: str
) -> None:
    file = StoreLayout(tmp_path).store_file
    content = f'{{"format": {number}, "id": "x", "created": "now"{more}}}'
    file.write_text(content)
    with pytest.raises(StoreDamaged, match=f"has format {number} and this Errata reads format 1: use the Errata that"):
        open_identity(tmp_path)
    assert file.read_text() == content


def test_layout_identity_manifest_and_head_are_free_of_torch() -> None:
    code = (
        "import sys\n"
        "from editing_core import durable\n"
        "from editing_core.versions import head, identity, layout, manifest\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
