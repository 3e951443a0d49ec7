from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

import service.generation.errors as generation
from editing_core.errors import EditConflict, ErrataError, InvalidEdit, NotFound, StoreDamaged
from service.api.problems import kinds
from service.api.problems.rendering import problem_response
from service.api.problems.statuses import all_problems, next_step, status_of
from service.api.problems.validation import invalid_input
from worker.protocol.errors import IdempotencyMismatch, LedgerDown, QueueFull


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (InvalidEdit, 422),
        (EditConflict, 409),
        (NotFound, 404),
        (QueueFull, 429),
        (LedgerDown, 503),
        (IdempotencyMismatch, 422),
        (StoreDamaged, 503),
        (kinds.BodyTooLarge, 413),
        (generation.PromptTooLong, 400),
        (generation.VersionUnavailable, 409),
        (ErrataError, 500),
    ],
)
def test_an_error_is_answered_with_its_status(kind: type[ErrataError], status: int) -> None:
    assert status_of(kind) == status


def test_every_kind_of_problem_has_a_name_of_its_own() -> None:
    found = all_problems()
    assert all(slug == kind.slug for slug, kind in found.items())
    titles = [kind.title for kind in found.values()]
    assert len(titles) == len(set(titles))


def test_every_kind_of_problem_says_what_to_do_next() -> None:
    assert all(next_step(kind).endswith(".") for kind in all_problems().values())


@pytest.mark.parametrize("error", [LedgerDown("away"), QueueFull("full"), kinds.ServiceStopping("down")])
def test_temporary_problems_say_when_to_retry(error: ErrataError) -> None:
    assert int(problem_response(error).headers["Retry-After"]) > 0


def test_an_error_can_set_its_own_retry_time() -> None:
    late = generation.VersionUnavailable("not yet", retry_after_seconds=7)
    assert problem_response(late).headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "error", [generation.VersionUnavailable("never"), generation.GenerationFailed("no numbers"), StoreDamaged("broken")]
)
def test_what_is_not_mended_by_asking_again_does_not_ask_for_it(error: ErrataError) -> None:
    assert "Retry-After" not in problem_response(error).headers


def test_the_location_of_an_error_is_reported() -> None:
    body = json.loads(bytes(problem_response(InvalidEdit("blank", loc=("subject",))).body))
    assert body["errors"] == [{"loc": ["subject"], "msg": "blank"}]


def test_text_that_utf8_cannot_hold_is_written_out() -> None:
    body = json.loads(bytes(problem_response(InvalidEdit("has \ud800 in it")).body))
    assert body["detail"] == "has \\ud800 in it"


def test_the_branches_of_a_union_are_no_part_of_a_place() -> None:
    class Body(BaseModel):
        prompt: str | list[str]

    with pytest.raises(ValidationError) as caught:
        Body.model_validate({"prompt": 7})
    refused = invalid_input(caught.value.errors(), prefix=("body",))
    assert {tuple(error["loc"]) for error in refused.errors} == {("body", "prompt")}
