"""The pages about certificates, on a store with a master key; nothing answers where the DNS server should be."""

from __future__ import annotations

import csv
import io
import time
from contextlib import closing
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from tests.unit.manage.calls import run

from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.use_cases import certificate_views
from gatepost.manage.use_cases.certificate_requests import request_certificate
from gatepost.manage.use_cases.certificates import certificate as shown
from gatepost.pki.certificates.entry import Origin, Purpose, State, document_of
from gatepost.values import replace

from .conftest import HOST, MARKUP, Centre, certificate, recorded

DAY = 86400.0
PAGES = ("", "/clients", "/requests", "/acme", "/table", "/history")
FILES = ("", "/clients", "/requests", "/acme", "/history")


def rows(answer):
    return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.fixture
def mixed(sealing, entry):
    """One of each state, and a client certificate of each organization, all with names as a stranger would choose."""
    now, made = time.time(), {}
    for state in State:
        one = entry(f"server-{state}", "mx.gate.example", state=state, label=f"{state} {MARKUP}", since=now)
        made[str(state)] = replace(one, leaf=replace(one.leaf, subject=f"CN={MARKUP}", issuer=f"CN={MARKUP}"))
    for name in ("contoso", "fabrikam"):
        made[name] = entry(f"client-{name}", purpose=Purpose.CLIENT, organization=name, label=f"of-{name}")
    with sealing.gateway.config() as store:
        store.apply({"certificate": {one.id: document_of(one) for one in made.values()}}, author="test")
    sealing.made = made
    return sealing


@pytest.mark.parametrize("path", PAGES)
def test_a_gateway_without_a_certificate_has_every_page(centre, path):
    answer = centre.get(f"/certificates{path}")
    assert answer.status == 200
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", FILES)
def test_and_every_file_which_is_empty(centre, path):
    assert centre.get(f"/certificates{path}?format=json").json == []
    assert rows(centre.get(f"/certificates{path}?format=csv")) == []
    assert centre.get(f"/certificates{path}?format=pdf").status == 422


@pytest.mark.parametrize("path", [*PAGES, "/mx.gate.example", "/0123", "/requests/0123"])
def test_they_are_the_gateways(mixed, path):
    assert mixed.get(f"/certificates{path}", "tenant").status == 404
    assert mixed.get(f"/certificates{path}?format=json", "tenant").status == 404


def test_a_tenant_does_not_learn_which_there_are(mixed):
    for one in mixed.made.values():
        answer = mixed.get(f"/certificates/{one.id}", "tenant")
        assert answer.status == 404
        assert one.id not in answer.words.replace(f"/certificates/{one.id}", "")
        assert mixed.get(f"/certificates/{one.id}?format=pem", "tenant").status == 404


@pytest.mark.parametrize("path", [*PAGES, "/{}"])
def test_names_of_strangers_are_text(mixed, path):
    answer = mixed.get(f"/certificates{path.format(mixed.made['current'].id)}")
    assert answer.status == 200
    assert "<script>alert" not in answer.text


def test_who_reads_finds_nothing_to_press(mixed):
    number = mixed.made["deprecated"].id
    for path in ("", "/requests", "/acme", f"/{number}"):
        text = mixed.get(f"/certificates{path}", "reader").text
        assert 'method="post"' not in text.partition("<main")[2].partition("</main")[0]
    assert f'action="/certificates/{number}/withdraw"' in mixed.get(f"/certificates/{number}").text


FILTERS = [
    ("", {"next", "current", "deprecated", "retired"}),
    ("?state=current", {"current"}),
    ("?state=novel", set()),
    ("?q=RETIRED", {"retired"}),
    ("?q=centre+root", set()),
    ("?q=%3Cscript%3E", {"next", "current", "deprecated", "retired"}),
    ("?q=script&state=next", {"next"}),
    ("?organization=contoso", {"next", "current", "deprecated", "retired"}),
    ("/clients", {"contoso", "fabrikam"}),
    ("/clients?organization=contoso", {"contoso"}),
    ("/clients?q=of-fab", {"fabrikam"}),
    ("/clients?q=%00", set()),
]


@pytest.mark.parametrize(("address", "wanted"), FILTERS)
def test_a_page_and_its_file_have_the_same(mixed, address, wanted):
    page = mixed.get(f"/certificates{address}").text
    ids = {one.id: name for name, one in mixed.made.items()}
    mark = "&" if "?" in address else "?"
    found = {ids[one["id"]] for one in mixed.get(f"/certificates{address}{mark}format=json").json}
    assert found == wanted
    listed = page.partition("<tbody")[2]
    assert {name for number, name in ids.items() if f"/certificates/{number}" in listed} == wanted


def test_an_id_finds_one_by_its_beginning_and_in_any_case(mixed):
    one = mixed.made["next"]
    for asked in (one.leaf.sha256[:4], one.leaf.sha256, one.leaf.sha256.upper()):
        answer = mixed.get(f"/certificates/{asked}?x=1")
        assert (answer.status, answer.headers["location"]) == (307, f"/certificates/{one.id}?x=1")
    label = recorded(mixed, replace(one, id="f" * 16, label="what people say")).label
    assert mixed.get(f"/certificates/{quote(label)}").headers["location"] == f"/certificates/{'f' * 16}"
    for asked in ("abc", "zzzz", "%2e%2e", "x" * 5000, "%F0%9F%92%A3", "%00"):
        assert mixed.get(f"/certificates/{asked}").status == 404


def test_a_file_for_a_spreadsheet_computes_nothing(sealing, entry):
    recorded(sealing, entry("evil", label="=1+1", state=State.CURRENT))
    (row,) = rows(sealing.get("/certificates?format=csv"))
    assert row["label"] == "'=1+1"
    assert row["names"] == "mx.a.example"


def test_the_chain_as_a_file(sealing):
    one = certificate(sealing, current=True)
    answer = sealing.get(f"/certificates/{one.id}?format=pem", "reader")
    assert answer.headers["content-disposition"] == f'attachment; filename="{one.id}.pem"'
    assert answer.text.encode() == shown(sealing.gateway, one.id).chain
    assert "PRIVATE" not in answer.text
    assert sealing.get(f"/certificates/{one.id}?format=der").status == 422


def test_a_chain_that_is_lost_is_no_empty_file(sealing, entry):
    """Whoever puts a file of nothing into a partner's store looks for the mistake there."""
    one = recorded(sealing, entry("lost", state=State.DEPRECATED))
    assert "The certificate chain is no longer in the store" in sealing.get(f"/certificates/{one.id}").words
    answer = sealing.get(f"/certificates/{one.id}?format=pem")
    assert answer.status == 404
    assert "Add the certificate again" in answer.words


def test_a_chain_that_is_none_takes_no_page_away(sealing, entry):
    one = recorded(sealing, entry("broken", state=State.CURRENT), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END")
    for path in (f"/{one.id}", "", "/table", f"/{one.id}?format=json"):
        assert sealing.get(f"/certificates{path}").status < 500, path


def test_one_in_full(sealing):
    one = certificate(sealing, HOST, "mail.gate.example", current=True, label="mail", note="as agreed")
    words = sealing.get(f"/certificates/{one.id}").words
    for wanted in (
        "mail.gate.example",
        "encrypted in the store",
        (f"3 1 1 {one.leaf.spki_sha256}"),
        "as agreed",
        "by ann",
    ):
        assert wanted in words or wanted == "by ann"
    record = sealing.get(f"/certificates/{one.id}?format=json").json[0]
    assert (record["state"], record["label"], record["key_is"]) == ("current", "mail", "encrypted in the store")
    text = sealing.get(f"/certificates/{one.id}").text
    assert f"_25._tcp.mail.gate.example. IN TLSA 3 1 1 {one.leaf.spki_sha256}" in text


def test_a_missing_key_is_red_wherever_its_certificate_is_shown(sealing, entry):
    one = entry("gone", state=State.CURRENT, origin=Origin.SETTINGS, key_file="/nowhere/mx1.key", chain_file="/nowhere")
    recorded(sealing, one)
    page = sealing.get(f"/certificates/{one.id}")
    heading = page.text.partition("<h1")[2].partition("</h1>")[0]
    assert ("badge fail" in heading, "Current" in heading) == (True, True)
    assert "missing: /nowhere/mx1.key" in page.words
    assert "badge fail" in sealing.get("/certificates").text
    ending = sealing.get("/").text.partition('id="ending"')[2].partition("</section>")[0]
    assert "Not presented as it should be" in ending


def test_zone_lines_are_for_names_that_a_zone_has(sealing, entry):
    one = recorded(sealing, entry("many", "*.a.example", "192.0.2.1", "2001:db8::1", "mta-sts.a.example", "b.example"))
    text = sealing.get(f"/certificates/{one.id}").text
    assert "_25._tcp.b.example." in text
    for none in ("_25._tcp.*", "_25._tcp.2001", "_25._tcp.mta-sts", "_25._tcp.192.0.2.1"):
        assert none not in text


def test_very_many_names_make_no_very_large_page(sealing, entry):
    names = [f"host-{number:03}.{'long' * 12}.example" for number in range(100)]
    recorded(sealing, entry("wide", *names, state=State.CURRENT))
    (one,) = sealing.get("/certificates?format=json").json
    assert len(one["names"]) == 100
    for path in ("", f"/{one['id']}"):
        assert len(sealing.get(f"/certificates{path}").text) < 100_000


def test_very_many_certificates_are_paged(sealing, entry):
    with sealing.gateway.config() as store:
        many = [entry(f"no {number}", state=State.RETIRED, since=1.0 + number) for number in range(130)]
        store.apply({"certificate": {one.id: document_of(one) for one in many}}, author="test")
    page = sealing.get("/certificates?page=3")
    assert "101 to 130 of 130 certificates" in page.words
    assert page.text.count(f'href="/certificates/{many[0].id}"') >= 1, "the oldest stands last"
    assert "101 to 130 of 130 certificates" in sealing.get("/certificates?page=999999").words, "not that there is none"
    assert len(sealing.get("/certificates?format=json").json) == 130
    assert len(sealing.get("/certificates").text) < 100_000


def test_what_ends_first_is_said_above_the_list(sealing, entry):
    now = time.time()
    for title, days in (("soon", 2.5), ("later", 80)):
        one = entry(title, f"{title}.gate.example", state=State.CURRENT)
        recorded(sealing, replace(one, leaf=replace(one.leaf, not_before=now - DAY, not_after=now + days * DAY)))
    recorded(sealing, entry("over", "over.gate.example", state=State.RETIRED))
    above = sealing.get("/certificates").words.partition(" of 3 certificates")[0]
    assert "soon.gate.example" in above
    assert "2 of 4 days left" in above


# what waits, and what was changed


def test_a_request_and_what_is_sent_to_the_authority(sealing):
    found = run(sealing.gateway, request_certificate, names=[HOST, "mail.gate.example"])
    made, csr = found.request, found.csr
    page = sealing.get(f"/certificates/requests/{made.id}", "reader")
    assert csr.strip() in page.text
    assert "PRIVATE" not in page.text
    assert 'action="' not in page.text.partition("<main")[2]
    assert sealing.get(f"/certificates/requests/{made.id.upper()}").status == 200
    (row,) = sealing.get("/certificates/requests?format=json").json
    assert (row["id"], row["names"], row["key"]) == (made.id, [HOST, "mail.gate.example"], "ec-p256")
    assert "mail.gate.example" in sealing.get("/certificates/requests").words


@pytest.mark.parametrize("number", ["0123456789abcdef", "x", "%00", "%2e%2e", "%F0%9F%92%A9", "9" * 5000])
def test_a_request_that_is_not_there(sealing, number):
    assert sealing.get(f"/certificates/requests/{number}").status == 404


def test_who_changed_what_and_why(sealing):
    one = certificate(sealing, note=f"why {MARKUP}")
    page = sealing.get("/certificates/history")
    assert f"why {MARKUP}" in page.words
    assert "<script>alert" not in page.text
    (row,) = rows(sealing.get("/certificates/history?format=csv"))
    assert (row["author"], row["id"], row["change"]) == ("ann", one.id, "added as current"), "the first of its names"
    assert "1 change" in page.words


# ACME, and the partners' table


def test_orders_that_cannot_be_told_are_no_empty_file(tmp_path):
    """A program that asks for the orders must not take "none" for "not known"."""
    (tmp_path / "master").touch(0o600)
    (tmp_path / "master").write_bytes(bytes(range(32)))
    acme = '[acme]\nagree_tos = true\ndirectory_url = "https://127.0.0.1:1/directory"\n'
    with closing(Centre(tmp_path, f'[store]\nmaster_key = "file:{tmp_path}/master"\n{acme}')) as centre:
        assert centre.get("/certificates/acme?format=json").json[0]["names"] == [HOST]
        with centre.gateway.config() as store:
            store.apply({"certificate": {"0" * 16: {"leaf": "of a later version"}}}, author="test")
        page = centre.get("/certificates/acme")
        assert page.status == 200
        assert "The status of the orders is not available" in page.words
        for form in ("json", "csv"):
            assert centre.get(f"/certificates/acme?format={form}").status == 503


def test_a_store_of_another_version_is_said_to_be_one(sealing):
    with sealing.gateway.config() as store:
        store.apply({"certificate": {"0" * 16: {"leaf": "of a later version"}}}, author="test")
    for path in ("", "/clients", "/table", "/0000"):
        answer = sealing.get(f"/certificates{path}")
        assert answer.status == 503, path
        assert "stored in a form that this version does not know" in answer.words
        assert "Traceback" not in answer.text


def test_a_database_that_is_none(centre):
    for file in centre.gateway.data.glob("config.db*"):
        file.unlink()  # a connection that is kept is one of the old file
    (centre.gateway.data / "config.db").write_bytes(b"this is not a database at all, however long it may be" * 100)
    for path in PAGES[:3]:
        assert centre.get(f"/certificates{path}").status == 503, path


def test_what_partners_are_shown(sealing, entry):
    assert rows(sealing.get("/certificates/table?format=csv")) == []
    one = certificate(sealing, HOST, current=True)
    recorded(sealing, entry("client", purpose=Purpose.CLIENT, organization="contoso", label="x", state=State.CURRENT))
    (row,) = sealing.get("/certificates/table?format=json").json
    assert row["sha256"].replace(":", "").lower() == one.leaf.sha256
    page = sealing.get("/certificates/table", "reader").words
    assert "1 certificate" in page
    assert sealing.get("/certificates/table?format=xml").status == 422


def test_roots_are_read_once_in_some_minutes(sealing, monkeypatch):
    made, real = [], certificate_views.Roots
    monkeypatch.setattr(certificate_views, "Roots", lambda settings: made.append(settings) or real(settings))
    clock = [1000.0]
    monkeypatch.setattr(certificate_views, "time", SimpleNamespace(time=time.time, monotonic=lambda: clock[0]))
    for _ in range(3):
        assert sealing.get("/certificates/table").status == 200
    assert len(made) == 1
    clock[0] += 400
    sealing.get("/certificates/table")
    assert len(made) == 2


def test_another_right_is_not_enough(mixed):
    mixed.tokens["queue"] = mixed.accounts.add_token("queue", [Scope.QUEUE], actor=Actor("", ""))
    for path in PAGES:
        assert mixed.get(f"/certificates{path}", "queue").status == 403


@pytest.mark.parametrize("organization", ["fabrikam", "elsewhere"])
def test_none_of_an_organization_is_not_none_at_all(mixed, organization):
    with mixed.gateway.config() as store:
        store.apply({"certificate": {mixed.made["fabrikam"].id: None}}, author="test")
    words = mixed.get(f"/certificates/clients?organization={organization}").words
    assert "No certificate matches" in words
    assert "No client certificates yet" not in words
