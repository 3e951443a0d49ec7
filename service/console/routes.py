"""``/console``: sends the files of the console. They hold no data, so no key is needed; their requests need one."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from editing_core.errors import NotFound
from service.console.files import ConsoleFile, console_files

router = APIRouter(prefix="/console", include_in_schema=False)

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
))
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
PAGE = "index.html"


@router.get("")
@router.get("/")
async def page(request: Request) -> Response:
    """Send the page. Its views are fragments of its address, so a view's data never reaches a log."""
    return _sent(console_files()[PAGE], request)


@router.get("/{name:path}")
async def file(request: Request, name: str) -> Response:
    """Send one file of the page."""
    found = console_files().get(name)
    if found is None:
        raise NotFound(f"the console has no file {name[:100]!r}: open /console")
    return _sent(found, request)


def _sent(found: ConsoleFile, request: Request) -> Response:
    headers = {**HEADERS, "ETag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)
