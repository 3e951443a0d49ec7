"""When requests are repeated, against a real HTTP server that is out of order in the ways that proxies are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.client.errors import ErrataApiError, ServiceUnreachable
from service.client.transport import Transport
from tests.support.free_port import free_port


class _Gateway(ThreadingHTTPServer):
    """Does what ``script`` says, one entry a request: an HTTP status, or "drop" for a connection that breaks."""

    daemon_threads = True

    def __init__(self, script: list[int | str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.num_requests = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are the purpose."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Gateway)
        self.server.num_requests += 1
        action = self.server.script.pop(0)
        if action == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(int(action))
        self.send_header("Retry-After", "2")
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"bad energy")

    def log_message(self, *args: object) -> None:
        """Quiet."""


@contextmanager
def _gateway(*script: int | str) -> Iterator[tuple[_Gateway, Transport, list[float]]]:
    pauses: list[float] = []
    server = _Gateway(list(script))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    transport = Transport(url, api_key=None, timeout_seconds=10.0, sleep=pauses.append)
    try:
        yield server, transport, pauses
    finally:
        transport.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_harmless_request_is_repeated_until_it_is_answered() -> None:
    with _gateway("drop", 503, 200) as (server, transport, _):
        assert transport.request("POST", "/edits", idempotent=True).status_code == 200
        assert server.num_requests == 3


def test_a_pause_is_as_long_as_the_service_asks() -> None:
    with _gateway(503, 200) as (_, transport, pauses):
        transport.request("POST", "/edits", idempotent=True)
        assert pauses == [2.0]


@pytest.mark.parametrize("trouble", ["drop", 503])
def test_a_request_that_is_not_harmless_is_sent_once(trouble: int | str) -> None:
    with _gateway(trouble, 200) as (server, transport, _):
        with pytest.raises((ServiceUnreachable, ErrataApiError)):
            transport.request("POST", "/edits", idempotent=False)
        assert server.num_requests == 1


def test_repeats_come_to_an_end() -> None:
    with _gateway(*[503] * 9) as (server, transport, _):
        with pytest.raises(ErrataApiError) as raised:
            transport.request("POST", "/edits", idempotent=True)
        assert (raised.value.status, server.num_requests) == (503, 4)


def test_a_refusal_is_never_repeated_and_an_answer_that_is_no_problem_is_told_by_its_text() -> None:
    with _gateway(502, 200) as (server, transport, _):
        with pytest.raises(ErrataApiError, match="bad energy") as raised:
            transport.request("POST", "/edits", idempotent=True)
        assert (raised.value.title, server.num_requests) == ("Bad Gateway", 1)


def test_an_address_where_nobody_listens_is_unreachable() -> None:
    pauses: list[float] = []
    transport = Transport(f"http://127.0.0.1:{free_port()}", api_key=None, timeout_seconds=5.0, sleep=pauses.append)
    with pytest.raises(ServiceUnreachable, match="no answer from"):
        transport.request("GET", "/edits", idempotent=True)
    transport.close()
    assert len(pauses) == 3
