"""The Python client against the real API on a real Redis (no model, no worker: batches stay queued)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.client.client import Client
from service.client.errors import ErrataApiError, InvalidRequest, UnexpectedAnswer, WaitTimedOut
from service.client.schemas import Batch
from tests.support.errata_process import api_alone


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with api_alone(tmp_path_factory.mktemp("api")) as url, Client(url) as client:
        yield client


def _edit(subject: str, target: str = "Dickens") -> dict[str, object]:
    return {"subject": subject, "prompt": "{} was written by", "target_new": target}


def _refusal(raised: pytest.ExceptionInfo[ErrataApiError]) -> tuple[int, str]:
    return raised.value.status, raised.value.type.rsplit("/", 1)[-1]


def test_a_batch_is_queued_and_can_be_asked_for(client: Client) -> None:
    batch = client.submit_edits([_edit("Hamlet")])
    assert batch.status == "queued"
    assert [edit.subject for edit in batch.edits] == ["Hamlet"]
    again = client.batch(batch.id)
    assert (again.edits, again.edit_counts) == (batch.edits, batch.edit_counts)
    assert (again.id, again.is_final, again.succeeded) == (batch.id, False, False)


def test_one_idempotency_key_makes_one_batch(client: Client) -> None:
    first = client.submit_edits([_edit("Emma")], idempotency_key="emma")
    assert client.submit_edits([_edit("Emma")], idempotency_key="emma").id == first.id
    with pytest.raises(ErrataApiError) as raised:
        client.submit_edits([_edit("Emma", "Verne")], idempotency_key="emma")
    assert _refusal(raised) == (422, "idempotency-mismatch")


def test_without_a_key_equal_batches_are_two(client: Client) -> None:
    assert client.submit_edits([_edit("Faust")]).id != client.submit_edits([_edit("Faust")]).id


def test_lists_longer_than_a_page_come_whole_and_with_every_field(client: Client) -> None:
    paraphrases, neighborhood = ["The author of {} is"], [{"prompt": "Macbeth was written by", "target": None}]
    more = {"paraphrases": paraphrases, "neighborhood": neighborhood, "note": "n", "relation": "author"}
    batch = client.submit_edits([_edit(f"Book {n}") | more for n in range(620)])
    edits = list(client.edits(batch=batch.id))
    assert {edit.subject for edit in edits} == {f"Book {n}" for n in range(620)}
    assert len(edits) == 620
    one = client.edit(edits[0].id)
    assert (one.paraphrases, one.neighborhood, one.note, one.relation) == (paraphrases, neighborhood, "n", "author")
    assert (one.status, one.batch, one.holds) == ("pending", batch.id, None)


def test_edits_are_found_by_subject(client: Client) -> None:
    client.submit_edits([_edit("Ulysses"), _edit("Dubliners")])
    assert [edit.subject for edit in client.edits(subject="Ulysses")] == ["Ulysses"]


def test_waiting_reports_progress_and_ends_with_the_final_state(client: Client) -> None:
    batch = client.submit_edits([_edit("Candide")])
    seen: list[str] = []

    def cancel_once_seen(now: Batch) -> None:
        seen.append(now.status)
        if len(seen) == 1:
            client.cancel_batch(batch.id)

    ended = client.wait_for_batch(batch.id, on_progress=cancel_once_seen, poll_seconds=0.01)
    assert (ended.status, ended.succeeded) == ("cancelled", False)
    assert [edit.status for edit in ended.edits] == ["cancelled"]
    assert seen == ["queued", "cancelled"]


def test_waiting_ends_at_its_timeout_and_the_batch_continues(client: Client) -> None:
    batch = client.submit_edits([_edit("Nana")])
    with pytest.raises(WaitTimedOut):
        client.wait_for_batch(batch.id, timeout_seconds=0.05, poll_seconds=0.01)
    assert not client.batch(batch.id).is_final


def test_a_held_answer_without_an_end_is_the_batch_as_accepted(client: Client) -> None:
    assert client.submit_edits([_edit("Walden")], wait_seconds=0.2).status == "queued"


def test_bad_input_is_reported_with_its_location(client: Client) -> None:
    with pytest.raises(ErrataApiError) as raised:
        client.submit_edits([_edit("Hamlet"), _edit("Emma") | {"prompt": "no slot"}])
    assert raised.value.status == 422
    assert raised.value.errors[0]["loc"][-3:] == ["edits", 1, "prompt"]
    assert "\n" not in str(raised.value)


def test_what_is_unknown_is_404(client: Client) -> None:
    for ask in (client.batch, client.edit, client.version, client.promote):
        with pytest.raises(ErrataApiError) as raised:
            ask("nothing/../known")
        assert raised.value.status in {404, 422}


def test_the_untouched_model_is_a_version_that_can_be_promoted(client: Client) -> None:
    assert [version.id for version in client.versions()] == ["v0"]
    promotion = client.promote("v0")
    assert (promotion.id, list(promotion.rolled_back)) == ("v0", [])


def test_a_ready_service_says_so(client: Client) -> None:
    assert client.readiness().ready


def test_text_that_is_no_unicode_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(InvalidRequest):
        client.submit_edits([_edit("\ud800")])


def test_an_answer_of_another_server_is_reported_as_such() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with Client(f"http://127.0.0.1:{server.server_address[1]}") as client:
        for ask in (lambda: list(client.versions()), lambda: client.generate("x"), lambda: client.batch("b")):
            with pytest.raises(UnexpectedAnswer, match="that is not Errata"):
                ask()
    server.shutdown()
    server.server_close()


class _Page(BaseHTTPRequestHandler):
    """A web page for every question."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if "versions" in self.path else "application/json")
        self.end_headers()
        self.wfile.write(b"<html></html>" if "versions" in self.path else b"[]")

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        """Quiet."""


def test_guards_are_kept_listed_and_taken_away(client: Client) -> None:
    (kept,) = client.add_guards([{"prompt": "Macbeth was written by", "target": "Shakespeare", "subject": "Macbeth"}])
    assert [(guard.id, guard.target) for guard in client.guards()] == [(kept.id, "Shakespeare")]
    assert client.remove_guard(kept.id) == kept
    assert list(client.guards()) == []
