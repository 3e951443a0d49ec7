"""How calls travel: an httpx client, refusals as errors, and retries if a retry does no harm.

``Transport`` blocks and ``AsyncTransport`` awaits; what both decide is decided in the same functions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx

from service.client.call import Call, without_none
from service.client.errors import ErrataApiError, InvalidRequest, ServiceUnreachable, retry_after_of

ResultT = TypeVar("ResultT")
_UNAVAILABLE = 503
_PAUSES_SECONDS = (0.1, 0.3, 0.8)
_LONGEST_PAUSE_SECONDS = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Transport:
    """Sends calls to one service and waits for each response."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        timeout_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        with _usable_address(base_url):
            self._http = httpx.Client(**_http_options(base_url, api_key, timeout_seconds))
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    @property
    def base_url(self) -> str:
        """Address of the service."""
        return str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def send(self, call: Call[ResultT]) -> ResultT:
        """Send a call and return its result.

        A repeatable call is sent up to four times if the connection breaks or the service answers 503.
        Raises ServiceUnreachable, ErrataApiError, UnexpectedAnswer, and InvalidRequest for a body that JSON or UTF-8
        cannot hold.
        """
        request = _request(self._http, call, self._timeout_seconds)
        attempts = _Attempts(call, self.base_url)
        while True:
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                pause_seconds = attempts.after_error(error)
            else:
                if attempts.is_last(response):
                    return call.read(_successful(response))
                pause_seconds = attempts.after_unavailable(response)
            self._sleep(pause_seconds)

    @contextmanager
    def lines(self, call: Call[Any]) -> Iterator[Iterator[str]]:
        """The lines of a response as they come. Raises what ``send`` raises; nothing is retried."""
        request = _request(self._http, call, self._timeout_seconds)
        try:
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                yield _successful(response).iter_lines()
            finally:
                response.close()
        except httpx.TransportError as error:
            raise _unreachable(error, self.base_url) from error


class AsyncTransport:
    """Sends calls to one service and awaits each response, on asyncio."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        timeout_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        with _usable_address(base_url):
            self._http = httpx.AsyncClient(**_http_options(base_url, api_key, timeout_seconds))
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    @property
    def base_url(self) -> str:
        """Address of the service."""
        return str(self._http.base_url).rstrip("/")

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def send(self, call: Call[ResultT]) -> ResultT:
        """Send a call and return its result; retries and errors are those of ``Transport.send``."""
        request = _request(self._http, call, self._timeout_seconds)
        attempts = _Attempts(call, self.base_url)
        while True:
            try:
                response = await self._http.send(request)
            except httpx.TransportError as error:
                pause_seconds = attempts.after_error(error)
            else:
                if attempts.is_last(response):
                    return call.read(_successful(response))
                pause_seconds = attempts.after_unavailable(response)
            await self._sleep(pause_seconds)

    @asynccontextmanager
    async def lines(self, call: Call[Any]) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a response as they come. Raises what ``send`` raises; nothing is retried."""
        request = _request(self._http, call, self._timeout_seconds)
        try:
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                yield _successful(response).aiter_lines()
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise _unreachable(error, self.base_url) from error


class _Attempts:
    """The attempts at one call: which response counts, and how long to pause before the next attempt."""

    def __init__(self, call: Call[Any], base_url: str) -> None:
        self._pauses = list(_PAUSES_SECONDS) if call.repeatable else []
        self._base_url = base_url

    def is_last(self, response: httpx.Response) -> bool:
        """Whether this response counts."""
        return response.status_code != _UNAVAILABLE or not self._pauses

    def after_unavailable(self, response: httpx.Response) -> float:
        """Seconds to pause after a 503: at least as long as the service asks for, within bounds."""
        return min(max(self._pauses.pop(0), retry_after_of(response) or 0.0), _LONGEST_PAUSE_SECONDS)

    def after_error(self, error: httpx.TransportError) -> float:
        """Seconds to pause after a connection broke. Raises ServiceUnreachable after the last attempt."""
        is_fatal = isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.UnsupportedProtocol)
        if is_fatal or not self._pauses:
            raise _unreachable(error, self._base_url) from error
        return self._pauses.pop(0)


def _http_options(base_url: str, api_key: str | None, timeout_seconds: float) -> dict[str, Any]:
    return {
        "base_url": base_url,
        "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
        "timeout": timeout_seconds,
        # A proxy named in the environment does not lead back to this machine.
        "trust_env": httpx.URL(base_url).host not in _LOOPBACK,
    }


@contextmanager
def _usable_address(base_url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise InvalidRequest(f"the address {base_url!r} or the API key cannot be used: {error}") from error


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any], timeout_seconds: float) -> httpx.Request:
    try:
        return http.build_request(
            call.method,
            call.path,
            params=without_none(call.params),
            json=call.json,
            headers=call.headers,
            timeout=timeout_seconds + call.extra_seconds,
        )
    except ValueError as error:
        raise InvalidRequest(f"the request cannot be written as JSON in UTF-8: {error}") from error


def _successful(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    raise ErrataApiError.of(response)


def _unreachable(error: httpx.TransportError, base_url: str) -> InvalidRequest | ServiceUnreachable:
    if isinstance(error, httpx.UnsupportedProtocol):
        return InvalidRequest(f"the address {base_url!r} does not begin with http:// or https://")
    return ServiceUnreachable(f"no answer from {base_url}: {str(error) or type(error).__name__}")
