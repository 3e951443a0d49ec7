from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from editing_core.errors import InvalidSettings, NotFound
from service.api.access.keys import SCOPES, KeyFile, Scope


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "api-keys.json"


def test_a_key_is_found_again_and_another_is_not(path: Path) -> None:
    keys = KeyFile(path)
    secret = keys.add("ann", ["edit"])
    found = keys.find(secret)
    assert found is not None
    assert (found.name, found.scopes) == ("ann", ("edit",))
    assert keys.find(secret + "x") is None
    assert keys.find("") is None


def test_the_key_itself_is_kept_nowhere_and_the_file_is_its_owners_alone(path: Path) -> None:
    secret = KeyFile(path).add("ann", ["read"])
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_change_by_another_process_is_seen(path: Path) -> None:
    here, there = KeyFile(path), KeyFile(path)
    assert here.keys() == ()
    secret = there.add("ann", ["read"])
    assert here.find(secret) is not None
    there.remove("ann")
    assert here.find(secret) is None


def test_keys_added_at_the_same_time_are_all_kept(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = list(pool.map(lambda i: KeyFile(path).add(f"key {i}", ["read"]), range(16)))
    keys = KeyFile(path)
    assert all(keys.find(secret) for secret in secrets)


@pytest.mark.parametrize(("name", "scopes"), [("", ["read"]), ("a\nb", ["read"]), ("x" * 101, ["read"]), ("ann", [])])
def test_a_key_without_a_usable_name_or_scope_is_not_made(path: Path, name: str, scopes: list[Scope]) -> None:
    with pytest.raises(InvalidSettings):
        KeyFile(path).add(name, scopes)
    assert not path.exists()


def test_a_name_is_given_once_and_only_what_is_there_can_be_removed(path: Path) -> None:
    keys = KeyFile(path)
    keys.add("ann", ["read"])
    with pytest.raises(InvalidSettings, match="ann"):
        keys.add("ann", ["edit"])
    with pytest.raises(NotFound, match="bob"):
        keys.remove("bob")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1, "keys": [{"name": "x"}]}', '{"format": 9}'])
def test_a_damaged_file_lets_nobody_in(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InvalidSettings, match=r"api-keys\.json"):
        KeyFile(path).find("anything")


def test_a_wider_scope_includes_the_narrower_ones(path: Path) -> None:
    keys = KeyFile(path)
    for i, scope in enumerate(SCOPES):
        keys.add(scope, [scope])
        allowed = [wanted for wanted in SCOPES if keys.keys()[i].allows(wanted)]
        assert allowed == list(SCOPES[: i + 1])


def test_the_file_can_be_read_by_people(path: Path) -> None:
    KeyFile(path).add("ann", ["read", "edit"])
    [row] = json.loads(path.read_text())["keys"]
    assert (row["name"], row["scopes"]) == ("ann", ["read", "edit"])
    assert row["created"].endswith("Z")
