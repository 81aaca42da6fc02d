"""GET /admin: the dashboard's files; GET, POST, DELETE /admin/api/session: who looks at it.

Every answer under /admin says what a browser may do with it: scripts, styles and data from here only, in nobody's
frame, and no string ever becomes markup (Trusted Types).
"""

import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.body import ClientGone
from gateway.callers.door import CSRF_HEADER, OWN_SITES, Door, Visit
from gateway.callers.sessions import COOKIE, LASTS_S
from gateway.dashboard import STATIC
from gateway.errors import AdminRefused
from gateway.routes.reading import GONE_STATUS, read_json

MAX_BODY_BYTES = 64 * 1024

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One file, as it is sent."""

    body: bytes
    kind: str
    etag: str


@dataclass(frozen=True, slots=True)
class Pages:
    """Every file of the dashboard by its path: what is not among them cannot be asked for.

    The index names the others below `version`, a digest of all of them: so a browser keeps them for good, and asks for
    none again until one has changed.
    """

    version: str
    files: Mapping[str, Page]


def read_pages(folder: Path = STATIC) -> Pages:
    """The files below `folder`."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): _page(path.name, path.read_bytes()) for path in paths}
    version = blake2b("".join(name + page.etag for name, page in files.items()).encode(), digest_size=8).hexdigest()
    if (index := files.get("index.html")) is not None:
        body = index.body.replace(b"admin/static/", f"admin/static/{version}/".encode())
        files["index.html"] = _page("index.html", body)
    return Pages(version, files)


def _page(name: str, body: bytes) -> Page:
    kind = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Page(body, kind, f'"{blake2b(body, digest_size=12).hexdigest()}"')


class KeyBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: Annotated[StrictStr, Field(max_length=4096)]


def visit_of(request: Request) -> Visit:
    """What a request says of where it comes from."""
    headers = request.headers
    return Visit(
        method=request.method,
        host=headers.get("host"),
        address=request.client.host if request.client is not None else "",
        authorization=headers.get("authorization"),
        cookie=request.cookies.get(COOKIE),
        csrf=headers.get(CSRF_HEADER),
        fetch_site=headers.get("sec-fetch-site"),
        origin=headers.get("origin"),
    )


def dashboard_routes(door: Door, pages: Pages) -> APIRouter:
    """The files, and the sessions of who looks at them."""
    routes = APIRouter()

    @routes.get("/admin", include_in_schema=False)
    async def index(request: Request) -> Response:
        return _sent(request, pages.files.get("index.html"))

    @routes.get("/admin/", include_in_schema=False)
    async def slash() -> Response:
        return RedirectResponse("../admin")  # relative addresses in the page go by /admin

    @routes.get("/admin/static/{path:path}", include_in_schema=False)
    async def static(request: Request, path: str) -> Response:
        version, _, name = path.partition("/")
        if version == pages.version:
            return _sent(request, pages.files.get(name), "public, max-age=31536000, immutable")
        return _sent(request, pages.files.get(path))

    @routes.get("/admin/api/session")
    async def session(request: Request) -> dict[str, Any]:
        return _state(door, visit_of(request))

    @routes.post("/admin/api/session")
    async def log_in(request: Request) -> Response:
        try:
            body = await read_json(KeyBody, request, MAX_BODY_BYTES)
        except ClientGone:
            return Response(status_code=GONE_STATUS)
        cookie, made = door.log_in(visit_of(request), body.key)
        response = JSONResponse({"state": "session", "csrf": made.csrf, "ends_s": made.ends_s})
        is_secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, cookie, max_age=LASTS_S, path="/admin", secure=is_secure, httponly=True, samesite="strict"
        )
        return response

    @routes.delete("/admin/api/session")
    async def log_out(request: Request) -> Response:
        visit = visit_of(request)
        if not visit.is_ours:
            raise AdminRefused("Nobody is logged out by a page of another site.")
        if (known := door.session_of(visit)) is not None:
            door.admit(visit)
            await door.sessions.end(known)
        response = JSONResponse({"state": "login"})
        response.delete_cookie(COOKIE, path="/admin", httponly=True, samesite="strict")
        return response

    return routes


def _state(door: Door, visit: Visit) -> dict[str, Any]:
    """Whether a key is asked for. Raises `AdminRefused` when nobody may look."""
    if visit.fetch_site not in OWN_SITES:
        raise AdminRefused("The admin API does not answer pages of other sites.")
    if not door.rule.key:
        door.admit(visit)
        return {"state": "open", "csrf": None, "ends_s": None}
    session = door.session_of(visit)
    if session is None:
        return {"state": "login", "csrf": None, "ends_s": None}
    return {"state": "session", "csrf": session.csrf, "ends_s": session.ends_s}


def _sent(request: Request, page: Page | None, caching: str = "no-cache") -> Response:
    if page is None:
        return Response("Not Found", status_code=404, media_type="text/plain")
    headers = {"etag": page.etag, "cache-control": caching}
    if page.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(page.body, media_type=page.kind, headers=headers)


@dataclass(frozen=True, slots=True)
class AdminHeaders:
    """Adds `HEADERS` to whatever is answered under /admin."""

    app: ASGIApp
    headers: Iterable[tuple[str, str]] = tuple(HEADERS.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/admin"):
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                for name, value in self.headers:
                    own.setdefault(name, value)
                if scope["path"].startswith("/admin/api"):
                    own.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, guarded)
