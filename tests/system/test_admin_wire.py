"""Proves that the admin centre stands whatever bytes come: requests that are two, paths that climb, bodies without end.

Everything is said over TLS by hand, so that no client of HTTP makes it right first. How long an unfinished request is
waited for is in `tests/unit/manage/web/test_server_connection.py`, where a test need not wait for it.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.admin import OWNER, PASSWORD, AdminCentre, running
from support.debian import need
from support.person import Person
from support.scenes import contoso, message, send

from gatepost.manage.pages.routes import ROUTES
from gatepost.testing.process import wait_until

MEBI = 1024 * 1024
PASSWD = "root:x:0"


@pytest.fixture(scope="module")
def centre() -> Iterator[AdminCentre]:
    """For all tests; none leaves anything behind."""
    with running(contoso()) as centre:
        yield centre


@pytest.fixture(scope="module")
def owner(centre: AdminCentre) -> Person:
    return Person(centre, OWNER)


def _dial(centre: AdminCentre, source: str = "127.0.0.1") -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", centre.port), timeout=60, source_address=(source, 0))
    return context.wrap_socket(plain)


def _said(centre: AdminCentre, *parts: bytes) -> str:
    """What comes until the other side closes, after all of that was sent as far as it is taken."""
    found = b""
    with _dial(centre) as link:
        with contextlib.suppress(OSError):
            for part in parts:
                link.sendall(part)
        with contextlib.suppress(OSError):
            while part := link.recv(65536):
                found += part
    return found.decode("latin-1")


def _head(line: str, *fields: str, host: str = "Host: localhost") -> bytes:
    return "\r\n".join([line, *([host] if host else []), *fields, "", ""]).encode("latin-1")


CLOSE = "Connection: close"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
NO_REQUESTS = {
    "two lengths": _head("POST /login HTTP/1.1", "Content-Length: 3", "Content-Length: 50") + b"a=1" + SMUGGLED,
    "two lengths in one": _head("POST /login HTTP/1.1", "Content-Length: 3, 50") + b"a=1" + SMUGGLED,
    "a length and chunks": _head("POST /login HTTP/1.1", "Content-Length: 5", CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
    "chunks and a length": _head("POST /login HTTP/1.1", CHUNKED, "Content-Length: 5") + b"0\r\n\r\n" + SMUGGLED,
    "another coding": _head("POST /login HTTP/1.1", "Transfer-Encoding: xchunked") + b"0\r\n\r\n" + SMUGGLED,
    "two codings": _head("POST /login HTTP/1.1", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n" + SMUGGLED,
    "a space before the colon": _head("POST /login HTTP/1.1", "Content-Length : 5", CLOSE) + b"a=1bc" + SMUGGLED,
    "a negative length": _head("POST /login HTTP/1.1", "Content-Length: -5") + SMUGGLED,
    "a signed length": _head("POST /login HTTP/1.1", "Content-Length: +5") + b"a=1bc" + SMUGGLED,
    "a chunk that is none": _head("POST /login HTTP/1.1", CHUNKED) + b"zz\r\n\r\n" + SMUGGLED,
    "no host": _head("GET /login HTTP/1.1", CLOSE, host=""),
    "two hosts": _head("GET /login HTTP/1.1", "Host: evil.example", CLOSE),
    "no version": b"GET /login\r\n\r\n",
    "another protocol": b"EHLO client.example\r\n\r\n",
    "NUL in a field": _head("GET /login HTTP/1.1", "X: a\0b", CLOSE),
    "a line end alone in a field": _head("GET /login HTTP/1.1", "X: a\rb", CLOSE),
    "a head without end": _head("GET /login HTTP/1.1", *[f"X-{number}: {'x' * 1000}" for number in range(70)]),
    "a path that is longer than a head": _head(f"GET /{'x' * 600_000} HTTP/1.1", CLOSE),
    "a cookie that is larger than a head": _head("GET /login HTTP/1.1", f"Cookie: a={'x' * 600_000}", CLOSE),
}


@pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_what_is_not_one_request_is_refused_and_nothing_after_it_is_heard(centre: AdminCentre, sent: bytes) -> None:
    answer = _said(centre, sent)
    assert answer.startswith("HTTP/1.1 400 "), answer[:300]
    assert len(re.findall(r"HTTP/1\.1 \d{3} ", answer)) == 1, answer
    assert "smuggled" not in answer


LARGE_COOKIES = {
    "large": f"Cookie: a={'x' * 30_000}",
    "many": "Cookie: " + "; ".join(f"c{number}=1" for number in range(2500)),
    "odd": 'Cookie: =; ;;; a b=c; __Host-gatepost="\\"; $Version=1; \x80=\xff',
    "repeated": "Cookie: " + "; ".join(["__Host-gatepost=x"] * 1000),
}


@pytest.mark.parametrize("field", LARGE_COOKIES.values(), ids=LARGE_COOKIES)
@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/status"])
def test_no_cookie_is_too_odd(centre: AdminCentre, path: str, field: str) -> None:
    status = _said(centre, _head(f"GET {path} HTTP/1.1", field, CLOSE)).split()[1]
    assert status == {"/": "303", "/login": "200", "/api/v1/status": "401"}[path]


PATHS = [
    "/../../../../etc/passwd", "/static/../../../../../../etc/passwd", "/static/x/../../../../../../../etc/passwd",
    "/static/x/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/static/x//etc/passwd",
    "/static/x/%2fetc%2fpasswd", "/static/x/..%5c..%5cetc%5cpasswd", "/static/x/..\\..\\etc\\passwd",
    "/static/x/%00", "/static/x/gatepost.css%00.js", "/static/%00/gatepost.css", "/static/x/" + "a/" * 2000,
    "/static/x/%c0%ae%c0%ae/etc/passwd", "/static/x/%ff%fe", "//evil.example/", "//evil.example/%2e%2e", "/%2e%2e/",
    "/\\evil.example", "/trace/%00", "/trace/..%2f..%2faccess.db", "/trace/%0d%0aX-Injected:%201", "/connectors/..",
    "/connectors/%2e%2e/outbound/%2e%2e", "/connectors/contoso/outbound/%00", "/api/v1/../../trace", "/api/v1/%2e%2e",
    "/api/v1/organizations/%2e%2e%2f%2e%2e", "/api/v1/organizations/contoso%00", "/api//v1/status", "/API/v1/status",
    "/api/v2/status", "/trace;jsessionid=1", "/trace/?x", "/trace/" + "%41" * 9000, "/?" + "a=1&" * 7000,
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_no_path_leads_out_or_breaks_anything(centre: AdminCentre, owner: Person, path: str) -> None:
    for cookie in ("", owner.cookie):
        answer = _said(centre, _head(f"GET {path} HTTP/1.1", f"Cookie: {cookie or 'none=1'}", CLOSE))
        status = int(answer.split()[1])
        assert status < 500, answer[:500]
        head, _, body = answer.partition("\r\n\r\n")
        assert PASSWD not in body
        assert "SQLite format" not in body
        assert "Traceback" not in body
        assert "\r\nX-Injected" not in head
        target = next((line for line in head.splitlines() if line.lower().startswith("location:")), "location: /")
        where = target.partition(":")[2].strip()
        assert where.startswith((centre.url, f"https://localhost:{centre.port}", "https://localhost/", "/")), where
        assert not where.startswith("//"), where


def test_no_page_writes_into_the_head_of_its_answer(centre: AdminCentre, owner: Person) -> None:
    bad = "a%0d%0aX-Injected:%201%0d%0a%0d%0a"
    for route in ROUTES:
        if "GET" not in (route.methods or ()) or route.path.endswith("/events"):
            continue
        path = "/".join(bad if part.startswith("{") else part for part in route.path.split("/"))
        for query in ("", f"?next=/{bad}&organization={bad}&format=csv&after={bad}&q={bad}&code={bad}"):
            answer = _said(centre, _head(f"GET {path}{query} HTTP/1.1", f"Cookie: {owner.cookie}", CLOSE))
            head = answer.partition("\r\n\r\n")[0].lower()
            assert "\r\nx-injected" not in head, (path, head)
            assert int(answer.split()[1]) < 500, (path, answer[:300])


HOSTS = [
    ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost@evil", 421),
    ("127.0.0.1:8443@evil.example", 421), ("localhost:8443:evil", 421), ("mx1.contoso.example", 200),
    ("MX1.contoso.example.:1", 200), ("127.0.0.1", 200), ("[::1]", 200), ("", 421), ("localhost/evil", 421),
]  # fmt: skip


@pytest.mark.parametrize(("host", "status"), HOSTS)
def test_it_is_known_by_no_name_but_its_own(centre: AdminCentre, host: str, status: int) -> None:
    """A page of another site could otherwise have its name point here, and be of one origin with us."""
    fields = (CLOSE, "X-Forwarded-Host: localhost", "X-Forwarded-For: 192.0.2.9", "Forwarded: host=localhost")
    answer = _said(centre, _head("GET /login HTTP/1.1", *fields, host=f"Host: {host}"))
    assert int(answer.split()[1]) in {status, 400 if status == 421 else status}, answer[:300]


def test_methods_are_what_the_request_line_says(centre: AdminCentre) -> None:
    token = f"Authorization: Bearer {centre.token('read', name='methods')}"
    path = "/api/v1/organizations/contoso"
    tricks = ("X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "If-Match: *")
    answer = _said(centre, _head(f"GET {path} HTTP/1.1", token, *tricks, CLOSE))
    assert answer.startswith("HTTP/1.1 200 ")
    for method in ("TRACE", "CONNECT", "PROPFIND", "OPTIONS", "get", "X" * 1000):
        for one in (path, "/login", "/", "/static/x/y"):
            answer = _said(centre, _head(f"{method} {one} HTTP/1.1", token, *tricks, CLOSE))
            assert answer.split()[1] in {"303", "400", "403", "405"}, (method, one, answer[:200])
            assert token not in answer, "nothing is echoed"


@pytest.mark.timeout(300)  # on a busy machine the bodies take a minute
def test_a_body_that_is_too_large_is_not_kept(centre: AdminCentre) -> None:
    token = centre.token(name="bodies")
    tells = f"Authorization: Bearer {token}"
    announced = _said(centre, _head("POST /login HTTP/1.1", f"Content-Length: {10**12}") + b"a=1")
    assert announced.startswith("HTTP/1.1 413 "), "no byte of it is waited for"
    before = centre.gateway.resident()
    answers: list[str] = []
    for path, field, mebibytes in (("/login", "X: 1", 4), ("/api/v1/resources", tells, 36)):
        head = _head(f"{'PATCH' if field == tells else 'POST'} {path} HTTP/1.1", CHUNKED, field, "If-Match: *", CLOSE,
                     "Content-Type: application/json" if field == tells else "X-Y: 1")  # fmt: skip
        threads = [threading.Thread(target=_pour, args=(centre, head, mebibytes, answers)) for _ in range(2)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(timeout=100)
    # Of some no answer comes: the rest of their body was sent to who listens no more.
    assert {answer.split()[1] for answer in answers if answer} == {"413"}
    grown = centre.gateway.resident() - before
    assert grown < 3 * 32 * MEBI, f"grew by {grown / MEBI:.0f} MiB"
    assert centre.call("/api/v1/status", token)[0] == 200
    kept = centre.gateway.cli("audit", "--outcome", "refused", json=True).data
    assert any("too large" in event["detail"].get("why", "") for event in kept)


def test_a_message_of_two_megabytes_reaches_the_trial_of_a_hook(centre: AdminCentre) -> None:
    document = {"hook": "none", "message": "QUFB" * (MEBI // 2)}
    path = "/api/v1/organizations/nobody/hook_trials"
    status, _, answer = centre.call(path, centre.token(name="trial"), "POST", document)
    assert status == 404, answer


def _pour(centre: AdminCentre, head: bytes, mebibytes: int, answers: list[str]) -> None:
    """It listens all the while, and stops when it is answered: what is sent to a closed connection resets it."""
    chunk = b"100000\r\n" + b"x" * MEBI + b"\r\n"
    waiting, rest, said = head, iter([chunk] * mebibytes), b""
    with _dial(centre) as link, contextlib.suppress(ConnectionError):
        link.setblocking(False)
        while not said:
            waiting = waiting or next(rest, b"")
            select.select([link], [link] if waiting else [], [], 60)
            with contextlib.suppress(ssl.SSLWantReadError):
                said = link.recv(65536)
                break
            with contextlib.suppress(ssl.SSLWantWriteError):
                waiting = waiting[link.send(waiting) :]
    answers.append(said.decode("latin-1"))


def test_a_form_that_ends_halfway_is_not_acted_upon(centre: AdminCentre) -> None:
    form = f"name={OWNER}&password={PASSWORD.replace(' ', '+')}&next=".encode()
    head = _head("POST /login HTTP/1.1", "Content-Type: application/x-www-form-urlencoded",
                 "Sec-Fetch-Site: same-origin", f"Content-Length: {len(form) + 10}")  # fmt: skip
    before = len(_log_ins(centre))
    with _dial(centre) as link:
        link.sendall(head + form)
        link.unwrap()
    Person(centre, OWNER)
    assert len(_log_ins(centre)) == before + 1, "only the whole one counted"


def _log_ins(centre: AdminCentre) -> list[Any]:
    return [
        event for event in centre.gateway.cli("audit", "--limit", "1000", json=True).data if event["action"] == "log-in"
    ]


def test_a_thousand_connections_keep_nobody_out_and_delay_no_mail(centre: AdminCentre) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(700):
            stack.enter_context(socket.create_connection(("127.0.0.1", centre.port), timeout=60))
        for number in range(300):
            link = stack.enter_context(_dial(centre))
            if number % 3 == 0:
                with contextlib.suppress(OSError):
                    link.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\na")
        here = _said(centre, _head("GET /login HTTP/1.1", CLOSE))
        assert here.startswith("HTTP/1.1 503 "), "who has a hundred gets no more"
        other = Person(centre, source="127.0.0.9").ask("/login")
        assert other.status == 200, "and others are let in"
        send(centre.gateway.port, "ann@contoso.example", content=message("meanwhile"))
        centre.gateway.wait_maildir("ann@contoso.example")
    wait_until(lambda: _said(centre, _head("GET /login HTTP/1.1", CLOSE)).startswith("HTTP/1.1 200"), "it is over")


def test_a_stream_of_events_ends_with_the_user_who_follows_it(centre: AdminCentre) -> None:
    """A partner that keeps silent is checked for half a minute."""
    need("root")  # for its port
    centre.gateway.cli("user", "add", "eve", "--role", "administrator", "--password-stdin", given=f"{PASSWORD}\n")
    eve = Person(centre, "eve")
    with socket.create_server(("127.0.0.77", 25)):
        run = eve.ask("/check/host", "POST", {"csrf": eve.csrf, "target": "127.0.0.77"}).headers["location"]
        head = _head(f"GET {run}/events HTTP/1.1", f"Cookie: {eve.cookie}", "Sec-Fetch-Site: same-origin")
        with _dial(centre) as link:
            link.sendall(head + b"\r\n")
            shown = b""
            while b"data: " not in shown:
                shown += link.recv(65536)
            centre.gateway.cli("user", "remove", "eve")
            begun, more = time.monotonic(), b""
            while part := link.recv(65536):
                more += part
                if more.endswith(b"0\r\n\r\n"):
                    break
            assert time.monotonic() - begun < 15
            assert b"data: " not in more
