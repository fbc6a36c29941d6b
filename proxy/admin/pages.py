"""The dashboard's own files: read once at start, served by path from memory.

Decides which there are (those of `web/` whose kind is known), and under which policy a browser runs them: nothing but these files, no
inline script or style. A path that is not in the list is not there, so none leads anywhere else. They hold no data and are open to all.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from proxy.admin.answers import HEADERS

WEB = Path(__file__).parent / "web"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = HEADERS | {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Vary": "Accept, Accept-Encoding",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file: its bytes, the same packed (None where that is no smaller), its type and its tag."""

    body: bytes
    packed: bytes | None
    kind: str
    tag: str


def read_files(folder: Path = WEB) -> dict[str, WebFile]:
    """Return the files of `folder` and of those below it, by their paths in it; none where there is no such folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in TYPES:
            body = path.read_bytes()
            packed = gzip.compress(body, mtime=0)
            tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
            found[path.relative_to(folder).as_posix()] = WebFile(body, packed if len(packed) < len(body) else None, TYPES[path.suffix], tag)
    return found


class Pages:
    """Serves `files`."""

    def __init__(self, files: dict[str, WebFile]) -> None:
        self._files = files

    @property
    def there(self) -> bool:
        """Whether there is a dashboard to serve."""
        return INDEX in self._files

    def index(self, request: web.Request) -> web.Response:
        """Return the dashboard's page."""
        return _served(request, self._files[INDEX])

    async def file(self, request: web.Request) -> web.Response:
        """Return one of the files."""
        found = self._files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound(text="There is no such file.")
        return _served(request, found)


def _served(request: web.Request, file: WebFile) -> web.Response:
    headers = PAGE_HEADERS | {"ETag": file.tag}
    if file.tag in [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]:
        return web.Response(status=304, headers=headers)
    body = file.body
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers = file.packed, headers | {"Content-Encoding": "gzip"}
    return web.Response(body=body, headers=headers | {"Content-Type": file.kind})
