"""The address of Redis with its password and TLS files, and the refusal of a Redis that anyone in the network can use.

``REDIS_URL`` names host and user. The password may be in a file, so that it is in no environment and no listing of
processes. TLS is chosen by ``rediss://``; files of certificates become parameters of the address.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from redis import Redis
from redis.exceptions import RedisError

from editing_core.errors import InvalidSettings
from worker.protocol.connections import CONNECT_TIMEOUT_SECONDS
from worker.protocol.errors import UnsafeRedis
from worker.protocol.settings import Settings


def redis_address(settings: Settings) -> str:
    """Return the complete address. Raises InvalidSettings if no Redis is named or a named file cannot be read."""
    if settings.redis_url is None:
        raise InvalidSettings("no Redis is named: set REDIS_URL (--redis), or use `errata up`, which starts one")
    url = settings.redis_url
    if settings.redis_password_file is not None:
        url = _with_password(url, _read_password(settings.redis_password_file))
    files = {
        "ssl_ca_certs": settings.redis_ca_file,
        "ssl_certfile": settings.redis_certificate_file,
        "ssl_keyfile": settings.redis_certificate_key_file,
    }
    given = {name: path for name, path in files.items() if path is not None}
    if not given:
        return url
    if urlsplit(url).scheme != "rediss":
        raise InvalidSettings("certificates for Redis are named and REDIS_URL uses no TLS: write it as rediss://…")
    for path in given.values():
        _require_readable(path)
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(given)}"


def require_closed_redis(url: str, *, accept_open: bool) -> None:
    """Raise UnsafeRedis if a Redis on another machine answers without a password, unless ``accept_open`` is set.

    A Redis that does not answer now passes: its failure is reported elsewhere.
    """
    if accept_open or _is_local(url) or not _answers_anyone(url):
        return
    raise UnsafeRedis(
        f"the Redis at {urlsplit(url).hostname} answers without a password, so all machines that reach it can change "
        "the ledger: set up users (`errata redis-users FOLDER`), or set ERRATA_ACCEPT_OPEN_REDIS=true to take the risk"
    )


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return True
    host = parts.hostname or "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _answers_anyone(url: str) -> bool:
    """Whether Redis answers a client without a password and without a certificate of its own."""
    parts = urlsplit(url)
    query = "&".join(part for part in parts.query.split("&") if not part.startswith(("ssl_certfile=", "ssl_keyfile=")))
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))
    client: Redis = Redis.from_url(
        bare, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS, socket_timeout=CONNECT_TIMEOUT_SECONDS
    )
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name, has_password, _ = user.partition(":")
    if has_password:
        raise InvalidSettings("REDIS_URL and ERRATA_REDIS_PASSWORD_FILE both give a password: leave one of them out")
    return urlunsplit((parts.scheme, f"{name}:{quote(password, safe='')}@{host}", *parts[2:]))


def _read_password(path: Path) -> str:
    _require_readable(path)
    password = path.read_text(encoding="utf-8", errors="replace").strip()
    if not password:
        raise InvalidSettings(f"the file {path} with the password of Redis is empty")
    return password


def _require_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise InvalidSettings(f"the file {path} for Redis cannot be read: {error.strerror or error}") from error
