"""Static files of pages: style, scripts, icons. All of it from this package, all of it from memory.

Templates ask `static_url("gatepost.css")` for an address that holds the file's hash, so that a browser may keep it for
a year and never sees an old one; `ROUTES` serves it. A name that is not in the package is not found, whatever its form:
no path is ever made of what was asked. About 200 KB stay in memory, each file plain and compressed.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from starlette.requests import Request


# Of the style and of our own scripts, a twentieth of what a first page weighs; libraries keep their licences.
_COMMENTS: Final = {
    "css": re.compile(rb"/\*.*?\*/\s*", re.DOTALL),
    "js": re.compile(rb"^\s*/\*.*?\*/\s*", re.DOTALL | re.MULTILINE),  # at the start of a line, where no text is one
}
_INDENT: Final = re.compile(rb"^[ \t]+", re.MULTILINE)  # no text of ours goes on in another line
_KEPT: Final = "public, max-age=31536000, immutable"


class _File(NamedTuple):
    """content: as it is, of what is ours without comments and indentation. version: of its hash.

    compressed: by gzip, or empty where that gains nothing.
    """

    content: bytes
    compressed: bytes
    version: str
    media_type: str


@cache
def _all() -> dict[str, _File]:
    return {name: _read(name, file) for name, file in _walk(files("gatepost.manage.pages") / "static", "")}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path, f"{prefix}{path.name}/")
        else:
            yield f"{prefix}{path.name}", path


def _read(name: str, file: Traversable) -> _File:
    content = file.read_bytes()
    if "/" not in name and (comment := _COMMENTS.get(name.rpartition(".")[2])):
        content = _INDENT.sub(b"", comment.sub(b"", content))
    compressed = gzip.compress(content, mtime=0)
    return _File(
        content,
        compressed if len(compressed) < len(content) else b"",
        hashlib.sha256(content).hexdigest()[:12],
        _media_type(name),
    )


def _media_type(name: str) -> str:
    known = mimetypes.types_map.get(f".{name.rpartition('.')[2]}", "text/plain")
    return f"{known}; charset=utf-8" if known.startswith("text/") else known


def static_url(name: str) -> str:
    """The address of a static file, such as "gatepost.css" or "vendor/htmx.min.js". Raises KeyError: there is none."""
    return f"/static/{_all()[name].version}/{name}"


def _serve(request: Request) -> Response:
    file = _all().get(request.path_params["name"])
    if file is None:
        return Response("There is no such file.\n", 404, media_type="text/plain")
    tag = f'"{file.version}"'
    current = request.path_params["version"] == file.version
    headers = {"cache-control": _KEPT if current else "no-cache", "etag": tag, "vary": "accept-encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if file.compressed and "gzip" in request.headers.get("accept-encoding", ""):
        content = file.compressed
        headers["content-encoding"] = "gzip"
    return Response(content, headers=headers, media_type=file.media_type)


ROUTES: Final = [Route("/static/{version}/{name:path}", _serve)]
