"""When both transports retry, against a real HTTP server that is out of order in the ways that proxies are."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.client.call import Call
from service.client.errors import ErrataApiError, ServiceUnreachable
from service.client.transport import AsyncTransport, Transport
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


Kind = type[Transport] | type[AsyncTransport]


class _Driven:
    """A transport that blocks, or an asynchronous one that this test runs on an event loop of its own."""

    def __init__(self, kind: Kind, url: str, pauses: list[float]) -> None:
        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        self._runner = asyncio.Runner()
        options = {"api_key": None, "timeout_seconds": 10.0}
        if kind is Transport:
            self._transport: Transport | AsyncTransport = Transport(url, **options, sleep=pauses.append)
        else:
            self._transport = AsyncTransport(url, **options, sleep=sleep)

    def send(self, *, repeatable: bool) -> int:
        """The status of the response to a POST."""
        call = Call(method="POST", path="/edits", read=lambda response: response.status_code, repeatable=repeatable)
        if isinstance(self._transport, Transport):
            return self._transport.send(call)
        return self._runner.run(self._transport.send(call))

    def close(self) -> None:
        if isinstance(self._transport, Transport):
            self._transport.close()
        else:
            self._runner.run(self._transport.close())
        self._runner.close()


@pytest.fixture(params=[Transport, AsyncTransport])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@contextmanager
def _gateway(kind: Kind, *script: int | str) -> Iterator[tuple[_Gateway, _Driven, list[float]]]:
    pauses: list[float] = []
    server = _Gateway(list(script))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    transport = _Driven(kind, f"http://127.0.0.1:{server.server_address[1]}", pauses)
    try:
        yield server, transport, pauses
    finally:
        transport.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_harmless_request_is_repeated_until_it_is_answered(kind: Kind) -> None:
    with _gateway(kind, "drop", 503, 200) as (server, transport, _):
        assert transport.send(repeatable=True) == 200
        assert server.num_requests == 3


def test_a_pause_is_as_long_as_the_service_asks(kind: Kind) -> None:
    with _gateway(kind, 503, 200) as (_, transport, pauses):
        transport.send(repeatable=True)
        assert pauses == [2.0]


@pytest.mark.parametrize("trouble", ["drop", 503])
def test_a_request_that_is_not_harmless_is_sent_once(kind: Kind, trouble: int | str) -> None:
    with _gateway(kind, trouble, 200) as (server, transport, _):
        with pytest.raises((ServiceUnreachable, ErrataApiError)):
            transport.send(repeatable=False)
        assert server.num_requests == 1


def test_repeats_come_to_an_end(kind: Kind) -> None:
    with _gateway(kind, *[503] * 9) as (server, transport, _):
        with pytest.raises(ErrataApiError) as raised:
            transport.send(repeatable=True)
        assert (raised.value.status, server.num_requests) == (503, 4)


def test_a_refusal_is_never_repeated_and_an_answer_that_is_no_problem_is_told_by_its_text(kind: Kind) -> None:
    with _gateway(kind, 502, 200) as (server, transport, _):
        with pytest.raises(ErrataApiError, match="bad energy") as raised:
            transport.send(repeatable=True)
        assert (raised.value.title, server.num_requests) == ("Bad Gateway", 1)


def test_an_address_without_a_listener_is_unreachable(kind: Kind) -> None:
    pauses: list[float] = []
    transport = _Driven(kind, f"http://127.0.0.1:{free_port()}", pauses)
    with pytest.raises(ServiceUnreachable, match="no answer from"):
        transport.send(repeatable=True)
    transport.close()
    assert len(pauses) == 3
