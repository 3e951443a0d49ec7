"""Authorization: by API keys if the installation has or ever had any, otherwise only for the local machine."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from editing_core.errors import InvalidSettings
from service.api.access.keys import KeyFile, Scope
from service.api.problems.kinds import ForeignOrigin, KeyRequired, ScopeMissing
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)
_OWN_SITES = (None, "same-origin", "none")
"""Values of Sec-Fetch-Site for programs, for the service's own pages, and for an address that the user typed."""

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="A key that `errata keys add NAME` created. Not needed on loopback until the first key is created.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The sender of a request."""

    name: str | None
    """The key's name; None: a local client without a key."""
    scope: Scope
    """The widest scope; without a key, a local client may do everything."""


class Gatekeeper:
    """Admits or refuses each request; one per process."""

    def __init__(self, keys: KeyFile, *, host: str) -> None:
        self._keys = keys
        self._local = is_loopback(host)

    def require_safe_binding(self, host: str) -> None:
        """Raise InvalidSettings if this address would serve other machines without a key."""
        if not self._keys.keys() and not self._local:
            raise InvalidSettings(
                f"refusing to listen on {host} without API keys: create one with `errata keys add NAME --scope admin`, "
                "or listen on 127.0.0.1"
            )

    def admit(self, request: Request, credentials: HTTPAuthorizationCredentials | None, *, scope: Scope) -> Principal:
        """Return the sender. Raises KeyRequired, ScopeMissing, ForeignOrigin, or InvalidSettings without a path."""
        try:
            return self._admit(request, credentials, scope=scope)
        except (InvalidSettings, OSError) as error:
            log_event(logger, "key_file_unreadable", level=logging.ERROR, reason=str(error))
            raise InvalidSettings(
                "the file of API keys cannot be read, and no key is accepted until it is restored: the service's log "
                "has the reason"
            ) from error

    def require_own_page(self, request: Request) -> None:
        """Raise ForeignOrigin for a request of a foreign web page, as ``admit`` does while there are no keys."""
        try:
            has_keys = self._keys.are_required
        except (InvalidSettings, OSError):
            has_keys = True
        if self._local and not has_keys:
            _require_local(request)

    def _admit(self, request: Request, credentials: HTTPAuthorizationCredentials | None, *, scope: Scope) -> Principal:
        if self._local and not self._keys.are_required:
            _require_local(request)
            return Principal(name=None, scope="admin")
        if credentials is None:
            raise _key_required("this service answers requests with an API key only")
        key = self._keys.find(credentials.credentials)
        if key is None:
            raise _key_required("the API key is unknown or was removed")
        if not key.allows(scope):
            raise ScopeMissing(
                f"key {key.name!r} has the scope {', '.join(key.scopes)}; this needs {scope}",
                headers={"WWW-Authenticate": f'Bearer realm="errata", error="insufficient_scope", scope="{scope}"'},
            )
        return Principal(name=key.name, scope=key.widest)


def _key_required(detail: str) -> KeyRequired:
    return KeyRequired(detail, headers={"WWW-Authenticate": 'Bearer realm="errata"'})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host: a loopback address, or a name that resolves to one."""
    name = host.rstrip(".").lower()
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _require_local(request: Request) -> None:
    """Refuse requests that a foreign web page makes a browser send (cross-origin requests, DNS rebinding)."""
    host = request.headers.get("host", "")
    if not is_loopback(_name_in(f"//{host}")):
        raise ForeignOrigin(f"without API keys the service answers requests to this machine only, not to {host!r}")
    origin = request.headers.get("origin")
    if origin is not None and _place_in(origin) != host.lower():
        raise ForeignOrigin(f"without API keys the service answers no requests from the web page {origin!r}")
    site = request.headers.get("sec-fetch-site")
    if site not in _OWN_SITES:
        raise ForeignOrigin(f"without API keys the service answers no requests from other web pages ({site!r})")


def _name_in(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _place_in(origin: str) -> str:
    """Return host and port of an origin. Another port of this machine is another web page."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def from_here(request: Request) -> None:
    """Check the host and the origin of a request that needs no key. Raises ForeignOrigin."""
    gatekeeper: Gatekeeper = request.app.state.errata.gatekeeper
    gatekeeper.require_own_page(request)


def scoped(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """Return the dependency that admits only this scope.

    It runs in the event loop, because the keys come from memory or one small file. In a thread, it would wait
    for requests that a hanging Redis blocks.
    """

    async def principal(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
    ) -> Principal:
        gatekeeper: Gatekeeper = request.app.state.errata.gatekeeper
        request.state.principal = gatekeeper.admit(request, credentials, scope=scope)
        who: Principal = request.state.principal
        return who

    return principal


Reader = Annotated[Principal, Depends(scoped("read"))]
Editor = Annotated[Principal, Depends(scoped("edit"))]
Admin = Annotated[Principal, Depends(scoped("admin"))]
