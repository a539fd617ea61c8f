"""A person's requests without a browser: forms with a session's cookie, for tests that try every route there is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http.client import HTTPResponse, IncompleteRead
from typing import NamedTuple
from urllib.parse import urlencode

from support.admin import PASSWORD, AdminCentre
from support.links import Links

_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
_MOST = 2_000_000


class Answer(NamedTuple):
    """headers: names in lower case; of a repeated one the last. text: headers and body, as they came."""

    status: int
    headers: Mapping[str, str]
    text: str


class Person:
    """Logged in as `name`; nobody without a name. source: the address that it asks from."""

    def __init__(self, centre: AdminCentre, name: str = "", *, agent: str = "test", source: str = "127.0.0.1") -> None:
        self._links = Links(centre.port, source)
        self.cookie, self.csrf = "", ""
        if name:
            answer = self.ask("/login", "POST", {"name": name, "password": PASSWORD}, {"User-Agent": agent})
            assert answer.status == 303, answer.text
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
            self.csrf = next(iter(_CSRF.findall(self.ask("/account").text)))

    def ask(
        self,
        path: str,
        method: str = "GET",
        form: Mapping[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request as a page of ours would send it; headers are more, or others (those that are empty are not sent).

        Of an answer that does not end, the first 2 MB, or what came within some seconds.
        """
        body = urlencode(form).encode() if form is not None and not isinstance(form, bytes) else form
        given = {"Sec-Fetch-Site": "same-origin", "Cookie": self.cookie}
        if body is not None:
            given["Content-Type"] = "application/x-www-form-urlencoded"
        given |= headers or {}
        kept = {name: value for name, value in given.items() if value}
        with self._links.asked(method, path, body, kept) as (answer, link):
            if "event-stream" in (answer.getheader("content-type") or "") and link.sock:
                link.sock.settimeout(2)
            content = _read(answer)
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, f"{answer.headers}{content.decode(errors='replace')}")


def _read(answer: HTTPResponse) -> bytes:
    found = b""
    try:
        while len(found) < _MOST and (part := answer.read1(65536)):
            found += part
    except (TimeoutError, IncompleteRead):
        pass
    return found
