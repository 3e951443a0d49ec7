"""How the client's requests travel: one httpx client, problems as errors, and repeats where a repeat is harmless.

Knows nothing of what is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from service.client.errors import ErrataApiError, InvalidRequest, ServiceUnreachable, retry_after_of

_UNAVAILABLE = 503
_PAUSES_SECONDS = (0.1, 0.3, 0.8)
_LONGEST_PAUSE_SECONDS = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Transport:
    """Sends requests to one service."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        timeout_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            loopback = httpx.URL(base_url).host in _LOOPBACK
            # A proxy named in the environment does not lead back to this machine.
            self._http = httpx.Client(
                base_url=base_url, headers=headers, timeout=timeout_seconds, trust_env=not loopback
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise InvalidRequest(f"the address {base_url!r} or the API key cannot be used: {error}") from error
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        idempotent: bool,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        extra_seconds: float = 0.0,
    ) -> httpx.Response:
        """Send and return a successful answer.

        An idempotent request is repeated a few times when the connection breaks or the service answers 503.
        Raises ServiceUnreachable, ErrataApiError, and InvalidRequest for what JSON or UTF-8 cannot hold.
        """
        try:
            request = self._http.build_request(
                method,
                path,
                params={name: value for name, value in (params or {}).items() if value is not None},
                json=json,
                headers=headers,
                timeout=self._timeout_seconds + extra_seconds,
            )
        except ValueError as error:
            raise InvalidRequest(f"the request cannot be written as JSON in UTF-8: {error}") from error
        for pause_seconds in (*_PAUSES_SECONDS, None):
            last = pause_seconds is None or not idempotent
            try:
                response = self._http.send(request)
            except httpx.UnsupportedProtocol as error:
                raise InvalidRequest(f"the address {self.base_url!r} is not an http:// or https:// one") from error
            except httpx.TransportError as error:
                if last or isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
                    raise ServiceUnreachable(f"no answer from {self.base_url}: {_reason(error)}") from error
            else:
                if response.status_code != _UNAVAILABLE or last:
                    return _successful(response)
                pause_seconds = max(pause_seconds or 0.0, retry_after_of(response) or 0.0)
            self._sleep(min(pause_seconds or 0.0, _LONGEST_PAUSE_SECONDS))
        raise AssertionError("the last round returns or raises")

    @contextmanager
    def lines(self, method: str, path: str, *, json: Any) -> Iterator[Iterator[str]]:
        """The lines of an answer as they come. Raises what ``request`` raises; nothing is repeated."""
        try:
            with self._http.stream(method, path, json=json) as response:
                if not response.is_success:
                    response.read()
                yield _successful(response).iter_lines()
        except httpx.UnsupportedProtocol as error:
            raise InvalidRequest(f"the address {self.base_url!r} is not an http:// or https:// one") from error
        except httpx.TransportError as error:
            raise ServiceUnreachable(f"no answer from {self.base_url}: {_reason(error)}") from error
        except ValueError as error:
            raise InvalidRequest(f"the request cannot be written as JSON in UTF-8: {error}") from error


def _successful(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    raise ErrataApiError.of(response)


def _reason(error: httpx.TransportError) -> str:
    return f"{str(error) or type(error).__name__}"
