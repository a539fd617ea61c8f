"""Proves that REST does what docs/rest.md says: the quick start as it is written, versions, dry runs, pages, refusals.

Everything goes over HTTPS to a gateway that runs, with tokens that commands made. What a token of another organization
gets is in `test_admin_hostile.py`; that no call whatever is answered with what the document does not say, in
`test_rest_document.py`.
"""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.admin import AdminCentre, running, served
from support.debian import need
from support.gateway import Gateway
from support.process import ROOT
from support.scenes import connector, contoso, message, send

from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

V1 = "/api/v1"
OWN = f"{V1}/organizations/contoso"
MANY = [f"user{number:03}@contoso.example" for number in range(230)]


@pytest.fixture(scope="module")
def centre() -> Iterator[AdminCentre]:
    """For all tests, each of which leaves its own connectors behind."""
    with running(contoso(mailboxes=MANY, outbound=[connector("bank.example", "127.0.0.1:9")])) as centre:
        yield centre


@pytest.fixture(scope="module")
def token(centre: AdminCentre) -> str:
    return centre.token(name="owner")


def quick_start() -> str:
    """The commands of the documentation."""
    page = (ROOT / "docs" / "rest.md").read_text()
    section = page.partition("## Quick start\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(lines))


def test_the_quick_start_works_as_it_is_written(gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    need("curl")
    bank = connector("bank.example", "127.0.0.1:9") | {"name": "bank"}
    centre = served(gateway, contoso(outbound=[bank]), settings={"queue": {"retry": ["1h"]}})
    send(centre.gateway.port, "bob@bank.example")
    centre.gateway.wait_trace(recipient="bob@bank.example", event="DEFER")
    script = quick_start()
    for written, here in (
        ("TOKEN=gp_…", f"TOKEN={centre.token()}"),
        ("https://gate.example:8443", centre.url),
        ('"v17"', '"v1"'),
    ):
        assert script.count(written) == 1, written
        script = script.replace(written, here)
    done = subprocess.run(
        ["/bin/bash", "-O", "expand_aliases", "-ec", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "CURL_CA_BUNDLE": str(centre.gateway.data_dir / "admin" / "certificate.pem")},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"blast_radius":{' in done.stdout
    assert '"action":"retry"' in done.stdout
    shown = centre.call(f"{OWN}/outbound_connectors/bank", centre.token(name="second"))[2]
    assert shown["tls_settings"] == "certificate-validation"
    versions = centre.gateway.cli("history", json=True).data
    notes = [(one["author"], one["note"]) for one in versions if one["note"]]
    assert notes[:2] == [("token test", "new customer"), ("token test", "as agreed")]
    assert centre.call(f"{V1}/users/fay", centre.token(name="third"))[2]["organizations"] == ["fabrikam"]


def test_an_error_is_as_the_documentation_shows(centre: AdminCentre, token: str) -> None:
    section = (ROOT / "docs" / "rest.md").read_text().partition("\n## Errors\n")[2]
    shown = json.loads(section[section.index("    {") :].partition("\n\n")[0])
    body = {"tls_setings": "certificate-validation", "priority": 5000}
    address = f"{OWN}/outbound_connectors/bank.example?dry_run=true"
    status, _, said = centre.call(address, token, "PATCH", body)
    assert status == shown["status"]
    assert said | {"instance": ""} == shown | {"instance": ""}


def test_a_connector_made_by_rest_carries_the_next_mail(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    partner, other = sink(), sink()
    resources = contoso(mailboxes=MANY[:1], outbound=[connector("*", other.address)])
    centre = served(gateway, resources, settings={"network": {"tenants_may_reach": ["127.0.0.0/8"]}})
    token = centre.token("connectors", organizations=("contoso",))
    made = connector("partner.example", partner.address, comment="by REST")
    status, headers, outcome = centre.call(f"{OWN}/outbound_connectors", token, "POST", made, {"If-Match": "*"})
    assert (status, headers["location"]) == (201, f"{OWN}/outbound_connectors/partner.example")
    assert headers["etag"] == f'"v{outcome["version"]}"'
    centre.gateway.wait_in_force()
    send(centre.gateway.port, "bob@partner.example", content=message("first"))
    (received,) = partner.wait_messages(1)
    assert received.recipients == ("bob@partner.example",)

    status, _, _ = centre.call(headers["location"], token, "DELETE", headers={"If-Match": headers["etag"]})
    assert status == 200
    centre.gateway.wait_in_force()
    send(centre.gateway.port, "bob@partner.example", content=message("second"))
    other.wait_messages(1)
    assert len(partner.messages) == 1
    (first, *_) = centre.gateway.cli("history", json=True).data
    assert first["author"] == "token test"


def test_a_change_says_what_it_was_made_from(centre: AdminCentre, token: str) -> None:
    def change(method: str = "PATCH", body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
        body = {"comment": "changed"} if body is None and method == "PATCH" else body
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return centre.call(f"{OWN}/outbound_connectors/versions", token, method, body, given)

    made = connector("versions.example", "127.0.0.1:9") | {"name": "versions"}
    assert change("PUT", made, If_Match="*")[0] == 201
    status, headers, _ = change("GET")
    first = headers["etag"]
    assert (status, change("GET", If_None_Match=first)[0]) == (200, 304)

    assert change()[0] == 428
    status, headers, outcome = change(If_Match=first)
    assert (status, headers["etag"] != first) == (200, True)
    assert [one["field"].rpartition(".")[2] for one in outcome["changes"]] == ["comment"]
    status, stale, problem = change(body={"comment": "from old"}, If_Match=first)
    assert (status, problem["type"]) == (412, f"{V1}/problems/precondition")
    assert stale["etag"] == headers["etag"], "the one in force is named"
    assert change("DELETE", If_Match=f"W/{headers['etag']}")[0] == 412, "a weak tag lets nothing be changed"
    assert change("GET", If_None_Match=first)[2]["comment"] == "changed"
    assert change("DELETE", If_Match=headers["etag"])[0] == 200
    assert change("GET")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_dry_run_says_all_and_changes_nothing(centre: AdminCentre, token: str, method: str) -> None:
    before = centre.call(f"{V1}/resources", token)[2]
    path = f"{OWN}/outbound_connectors" + ("/bank.example" if method != "POST" else "")
    name = "bank.example" if method != "POST" else "new"
    body: Any = {"comment": "x"} if method == "PATCH" else connector("z.example", "127.0.0.1:9") | {"name": name}
    status, headers, outcome = centre.call(f"{path}?dry_run=true", token, method, None if method == "DELETE" else body)
    assert (status, outcome["dry_run"], "location" in headers) == (200, True, False)
    assert outcome["changes"]
    assert outcome["blast_radius"] is not None
    assert centre.call(f"{V1}/resources", token)[2] == before


def test_pages_are_whole_and_without_repetition(centre: AdminCentre, token: str) -> None:
    path, seen, pages = f"{OWN}/mailboxes?limit=100", list[str](), 0
    while path:
        status, headers, page = centre.call(path, token)
        assert status == 200
        assert headers.get("link", "") == (f'<{page["next"]}>; rel="next"' if page["next"] else "")
        seen += [one["address"] for one in page["items"]]
        path, pages = page["next"], pages + 1
        if pages == 1:  # what goes meanwhile hides nothing
            gone = centre.call(f"{OWN}/mailboxes/{MANY[7]}", token, "DELETE", headers={"If-Match": "*"})
            assert gone[0] == 200
    assert (pages, seen) == (3, MANY)
    for wrong in ("after=AAAA", "after=%00", "limit=0", "limit=1001", "limit=many", "limit=5&limit=6", "colour=red"):
        status, _, problem = centre.call(f"{OWN}/mailboxes?{wrong}", token)
        name = wrong.partition("=")[0]
        assert (status, [one["path"] for one in problem["errors"]]) == (422, [f"query.{name}"]), wrong


def test_the_trace_is_paged_while_mail_comes(centre: AdminCentre, token: str) -> None:
    for number in range(7):
        send(centre.gateway.port, MANY[0], content=message(f"page {number}"))
    search = f"{V1}/trace?event=DELIVER&recipient={MANY[0]}"
    wait_until(lambda: len(centre.call(search, token)[2]["items"]) == 7, "seven rows are there")
    path, subjects = f"{search}&limit=3", list[str]()
    while path:
        _, _, page = centre.call(path, token)
        subjects += [row["subject"] for row in page["items"]]
        path = page["next"]
    assert sorted(subjects) == [f"page {number}" for number in range(7)]


def test_head_is_get_without_its_body(centre: AdminCentre, token: str) -> None:
    for path in (f"{V1}/status", f"{OWN}/mailboxes", f"{V1}/openapi.json", f"{V1}/none"):
        status, headers, _ = centre.call(path, token)
        asked, told, body = centre.call(path, token, "HEAD")
        assert (asked, body) == (status, ""), path
        assert told["content-type"] == headers["content-type"]
        assert abs(int(told["content-length"]) - int(headers["content-length"])) < 40, "a time in it may be longer"


ANY = {"If-Match": "*"}
type Refused = tuple[str, str, str, Any, dict[str, str], int, str]
REFUSALS: list[Refused] = [
    # scope of the token ("" is none), method, path, body, headers, status, kind
    ("", "GET", "/status", None, {}, 401, "unauthenticated"),
    ("wrong", "GET", "/status", None, {}, 401, "unauthenticated"),
    ("read", "POST", "/organizations/contoso/mailboxes", {}, ANY, 403, "forbidden"),
    ("connectors", "POST", "/queue/actions", {"action": "retry", "all": True}, {}, 403, "forbidden"),
    ("owner", "GET", "/nothing", None, {}, 404, "missing"),
    ("owner", "GET", "/organizations/none", None, {}, 404, "missing"),
    ("owner", "GET", "/organizations/contoso/mailboxes/none%00@x", None, {}, 404, "missing"),
    ("owner", "PUT", "/status", {}, {}, 405, "method"),
    ("owner", "DELETE", "/trace", None, {}, 405, "method"),
    ("owner", "PATCH", "/resources", {"organization": {}}, ANY | {"Content-Type": "text/plain"}, 415, "media-type"),
    ("owner", "PATCH", "/resources", {}, ANY | {"Content-Encoding": "gzip"}, 415, "media-type"),
    ("owner", "PATCH", "/resources", [], ANY, 400, "malformed"),
    ("owner", "PATCH", "/resources", "text", ANY, 400, "malformed"),
    ("owner", "PATCH", "/resources", {"organisation": {}}, ANY, 422, "invalid"),
    ("owner", "POST", "/organizations/contoso/mailboxes", {"address": "x" * 300_000}, ANY, 413, "too-large"),
    ("owner", "POST", "/queue/actions", {"action": "retry"}, {}, 422, "invalid"),
    ("owner", "POST", "/organizations/contoso/mailboxes", {"address": "x@contoso.example"}, {}, 428, "unguarded"),
    ("owner", "POST", "/organizations/contoso/mailboxes", {"address": MANY[1]}, ANY, 409, "conflict"),
    ("owner", "POST", "/organizations", {"name": "../../etc"}, ANY, 422, "invalid"),
    ("owner", "GET", "/trace?since=yesterday", None, {}, 422, "invalid"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case[5]} {case[1]} {case[2]}")
def test_what_is_refused_says_why_as_a_problem(centre: AdminCentre, tokens: dict[str, str], case: Refused) -> None:
    scope, method, path, body, headers, status, kind = case
    found, told, problem = centre.call(f"{V1}{path}", tokens[scope], method, body, headers)
    assert (found, problem["type"]) == (status, f"{V1}/problems/{kind}"), problem
    assert told["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail", "instance", "errors", "refusal", "options"}
    assert bool(problem["errors"]) is (status == 422)
    assert ("allow" in told) is (status == 405)
    assert ("www-authenticate" in told) is (status == 401)
    explained, _, what = centre.call(problem["type"], tokens["owner"])
    assert (explained, what["status"]) == (200, status)


@pytest.fixture(scope="module")
def tokens(centre: AdminCentre, token: str) -> dict[str, str]:
    scopes = ("read", "connectors")
    return {"": "", "wrong": "gp_wrong", "owner": token} | {one: centre.token(one, name=one) for one in scopes}
