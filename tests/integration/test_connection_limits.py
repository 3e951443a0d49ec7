"""What a connection may cost before its request has begun, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.connection_limits import ConnectionLimits
from service.connections import limited_protocol

ADDRESS = "127.0.0.1"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers the length of the body, after having read it; `/slow` waits first."""
    request = Request(scope, receive)
    if request.url.path == "/slow":
        await asyncio.sleep(1.0)
    body = str(len(await request.body())).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(limits: ConnectionLimits) -> Iterator[int]:
    config = uvicorn.Config(app, port=0, http=limited_protocol(limits), lifespan="off", ws="none", log_config=None)
    server = uvicorn.Server(config)
    listener = socket.create_server((ADDRESS, 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def limits(**changes: float) -> ConnectionLimits:
    return ConnectionLimits(**({"max_connections": 50, "max_connections_per_address": 50} | changes))  # type: ignore[arg-type]


def answer_to(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Everything that comes back until the server closes the connection."""
    with socket.create_connection((ADDRESS, port), timeout=30) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(pause)
        found = b""
        try:
            while received := connection.recv(65536):
                found += received
        except ConnectionResetError:
            pass
        return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


GOOD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"


def test_requests_within_the_limits_are_answered() -> None:
    with served(limits()) as port:
        assert answer_to(port, GOOD).endswith(b"\r\n\r\n3")
        assert answer_to(port, GOOD[:20], GOOD[20:60], GOOD[60:], pause=0.05).endswith(b"\r\n\r\n3")
        long_header = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"a" * 60_000 + b"\r\n\r\n"
        assert status_of(answer_to(port, long_header)) == 200


@pytest.mark.parametrize(
    ("start", "fill", "status"),
    [
        (b"GET /", b"a", 414),
        (b"GET / HTTP/1.1\r\nX: ", b"a", 431),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n", 431),
        (b"GET / HTTP/1.1\r\n", b"X", 431),
    ],
)
def test_head_of_any_shape_that_is_too_long_is_refused_with_a_problem(start: bytes, fill: bytes, status: int) -> None:
    largest = 32_768 if status == 414 else 98_304
    head = (start + fill * (largest // len(fill)))[: largest - 10]
    with served(limits()) as port:
        answer = answer_to(port, head, fill * 40, pause=0.3)  # all is read before the connection closes
        assert status_of(answer) == status
        assert json.loads(answer.split(b"\r\n\r\n")[1])["status"] == status
        assert answer_to(port, GOOD).endswith(b"\r\n\r\n3")


def test_complete_headers_beyond_the_limit_are_refused() -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"a" * 66_000 + b"\r\n\r\n"
    with served(limits()) as port:
        assert status_of(answer_to(port, head)) == 431


def test_endless_header_is_cut_off() -> None:
    with served(limits()) as port, socket.create_connection((ADDRESS, port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(b"a" * (100 << 20))


@pytest.mark.parametrize("sent", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_connection_that_never_completes_its_headers_is_answered_408(sent: bytes) -> None:
    with served(limits(header_seconds=0.3)) as port:
        assert status_of(answer_to(port, sent)) == 408


def test_connection_that_sends_nothing_is_closed_without_a_response() -> None:
    with served(limits(header_seconds=0.3)) as port:
        assert answer_to(port) == b""


def test_body_that_stops_coming_is_refused_and_one_that_trickles_is_not() -> None:
    with served(limits(body_seconds=0.5)) as port:
        assert status_of(answer_to(port, GOOD[:-2])) == 408
        assert answer_to(port, GOOD[:-3], b"a", b"b", b"c", pause=0.3).endswith(b"\r\n\r\n3")


def test_answer_that_takes_longer_than_the_limits_is_not_cut_off() -> None:
    with served(limits(header_seconds=0.2, body_seconds=0.2)) as port:
        slow = b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert status_of(answer_to(port, slow)) == 200


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
def test_connections_beyond_the_limit_are_answered_503_and_their_places_come_back(limit: str) -> None:
    with served(limits(**{limit: 3})) as port:
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(socket.create_connection((ADDRESS, port), timeout=30))
            time.sleep(0.2)
            answer = answer_to(port)
            assert status_of(answer) == 503
            assert b"Retry-After: 5" in answer
        deadline = time.monotonic() + 30
        while not (answer := answer_to(port, GOOD)).endswith(b"\r\n\r\n3"):
            assert time.monotonic() < deadline, answer
