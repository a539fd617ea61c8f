from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files
from pathlib import Path

import pytest
from starlette.requests import Request

from gatepost.manage.pages import static_files
from gatepost.manage.pages.static_files import _all, _serve, static_url


def ask(name, version="", **headers):
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/static/{version}/{name}",
        "path_params": {"name": name, "version": version},
        "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
    }
    return _serve(Request(scope))


def version_of(name):
    return static_url(name).split("/")[2]


def test_an_address_holds_the_hash_of_the_content():
    content = _all()["gatepost.css"].content
    assert static_url("gatepost.css") == f"/static/{hashlib.sha256(content).hexdigest()[:12]}/gatepost.css"


@pytest.mark.parametrize("name", ["gatepost.css", "gatepost.js", "keys.js", "passkeys.js"])
def test_what_is_ours_goes_without_its_comments(name):
    content = _all()[name].content
    written = (files("gatepost.manage.pages") / "static" / name).read_bytes()
    assert b"/*" in written
    assert b"/*" not in content
    assert b"\n " not in content
    assert all(line.count(b"`") % 2 == 0 for line in content.splitlines()), "a text in several lines has an indentation"
    assert content.count(b"{") == content.count(b"}") == written.count(b"{")


def test_a_library_keeps_its_licence_and_what_its_code_says():
    for name in ("vendor/htmx.min.js", "vendor/hx-sse.min.js"):
        assert _all()[name].content == (files("gatepost.manage.pages") / "static" / name).read_bytes()


def test_there_is_no_address_of_what_is_not_there():
    with pytest.raises(KeyError):
        static_url("gatepost.cs")


def test_a_file_is_kept_for_a_year():
    answer = ask("gatepost.js", version_of("gatepost.js"))
    assert answer.status_code == 200
    assert answer.body == _all()["gatepost.js"].content
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


def test_a_file_by_the_hash_of_another_version_is_not_kept():
    answer = ask("gatepost.js", "0123456789ab")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


def test_a_file_is_compressed_for_whom_that_suits():
    answer = ask("vendor/htmx.min.js", version_of("vendor/htmx.min.js"), accept_encoding="br, gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == _all()["vendor/htmx.min.js"].content
    assert len(answer.body) < 15_000


def test_a_file_the_browser_has_is_not_sent_again():
    tag = ask("icons.svg").headers["etag"]
    answer = ask("icons.svg", version_of("icons.svg"), if_none_match=f'W/"x", {tag}')
    assert (answer.status_code, answer.body) == (304, b"")


@pytest.mark.parametrize(
    "name",
    ["", "../pages.py", "vendor/../../pages.py", "/etc/passwd", "vendor", "vendor/", "gatepost.css\0", "pages.py"],
)
def test_what_is_not_in_the_package_is_not_found(name):
    assert ask(name, "x").status_code == 404


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("gatepost.css", "text/css; charset=utf-8"),
        ("icons.svg", "image/svg+xml"),
        ("vendor/VERSIONS", "text/plain; charset=utf-8"),
        ("vendor/htmx.LICENSE.txt", "text/plain; charset=utf-8"),
    ],
)
def test_a_file_has_its_media_type(name, media_type):
    assert ask(name).headers["content-type"] == media_type


def test_vendored_files_are_what_was_fetched():
    lines = _all()["vendor/VERSIONS"].content.decode().split("\n\n")[2].splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    vendored = {name for name in _all() if name.startswith("vendor/") and name != "vendor/VERSIONS"} | {"icons.svg"}
    assert listed == {name: hashlib.sha256(_all()[name].content).hexdigest() for name in vendored}


def test_every_vendored_library_has_its_licence():
    libraries = {name.split("/")[1].split(".")[0] for name in _all() if name.endswith((".min.js", ".min.css"))}
    licences = {name.split("/")[1].split(".")[0] for name in _all() if name.endswith(".LICENSE.txt")}
    assert libraries - {"hx-sse"} | {"lucide"} == licences  # hx-sse is of htmx


def test_a_text_area_for_a_key_is_marked_as_one_that_the_browser_keeps_nothing_of():
    """By autocomplete="off", which `unsent.js` looks for."""
    pages = Path(static_files.__file__).parent / "templates"
    lines = [line for page in pages.rglob("*.html") for line in page.read_text(encoding="utf-8").splitlines()]
    keys = [line for line in lines if "ui.textarea(" in line and "PRIVATE KEY" in line]
    assert len(keys) == 3
    assert [line for line in keys if 'autocomplete="off"' not in line] == []
