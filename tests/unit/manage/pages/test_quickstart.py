"""The first page of a new owner asks what `gatepost quickstart` asks, and makes nothing before it was reviewed."""

from __future__ import annotations

import pytest
from tests.unit.manage.use_cases.calls import remove_organization

from gatepost.manage.pages.quickstart import next_steps
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.net.identity import read_identity
from gatepost.pki.certificates.authority import Authority, self_signed
from gatepost.pki.certificates.files import load_identity

from .conftest import HOST, MARKUP, OWNER

ANSWERS = {
    "hostname": HOST,
    "domains": "New.example.\r\nnew.test",
    "upstream": "192.0.2.10",
    "own_servers": "192.0.2.11",
    "nameservers": "127.0.0.1:1",
}


@pytest.fixture
def empty(centre):
    """Without any resources, as a new gateway is."""
    for name in ("contoso", "fabrikam"):
        remove_organization(centre.gateway, OWNER, name, ChangeOptions("root"))
    return centre


def organizations(centre):
    return centre.gateway.directory().resources.organizations


def version(centre):
    return centre.gateway.directory().version


def test_the_overview_of_an_empty_gateway_leads_to_it(empty):
    assert 'href="/quickstart"' in empty.get("/").text


def test_it_asks_with_what_the_settings_have(empty):
    page = empty.get("/quickstart")
    assert (page.status, page.value("hostname"), page.value("upstream")) == (200, HOST, "mailboxes")
    assert "127.0.0.1:1" in page.text


def test_a_review_makes_nothing_and_shows_everything(empty):
    before = version(empty)
    page = empty.post("/quickstart", do="review", **ANSWERS)
    assert page.status == 200
    for text in ('name = "new.example"', 'smart_hosts = ["192.0.2.10"]', '"192.0.2.11"', "need a master key"):
        assert text in page.words
    assert (organizations(empty), version(empty)) == ((), before)
    assert page.value("domains") == "New.example. new.test"
    back = empty.post("/quickstart", do="back", **ANSWERS)
    assert "new.test" in back.text
    assert organizations(empty) == ()


def test_it_is_made_once_and_what_is_left_is_shown(empty):
    page = empty.post("/quickstart", do="make", **ANSWERS)
    assert page.status == 200
    (made,) = organizations(empty)
    assert [domain.name for domain in made.accepted_domains] == ["new.example", "new.test"]
    assert made.outbound_connectors[0].smart_hosts[0].host == "192.0.2.10"
    for text in (
        "new.example. IN MX 10 mx.gate.example.",
        '_dmarc.new.test. IN TXT "v=DMARC1; p=none;',
        "there is no certificate: STARTTLS is not offered",
        "Publish the DNS records",
        "Get a certificate that others trust",
        "Force TLS with a first partner",
    ):
        assert text in page.words
    before = version(empty)
    again = empty.post("/quickstart", do="make", **ANSWERS | {"domains": "other.example"})
    assert (again.status, again.headers["location"]) == (303, "/quickstart")
    assert version(empty) == before
    assert "new.example. IN MX 10" in empty.get("/quickstart").words


def test_settings_that_differ_are_lines_for_their_owner(empty):
    file = empty.gateway.data.parent / "gatepost.toml"
    before = file.read_bytes()
    answers = ANSWERS | {"hostname": "mx9.new.example", "nameservers": "192.0.2.53"}
    for do in ("review", "make"):
        words = empty.post("/quickstart", do=do, **answers).words
        for text in (
            'hostname = "mx9.new.example"',
            'nameservers = ["192.0.2.53"]',
            "master_key =",
            "systemctl restart",
        ):
            assert text in words
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hostname": "mx1"}, "Host name: 'mx1' is not fully qualified"),
        ({"domains": ""}, "Domains: name a domain"),
        ({"domains": "no_domain!"}, "Domains: "),
        ({"domains": MARKUP}, "Domains: "),
        ({"upstream": ""}, "Mail server: name the mail server"),
        ({"upstream": "a:b:c"}, "Mail server: "),
        ({"upstream": "x" * 400}, "Mail server: "),
        ({"upstream": "pkcs11:token=x"}, "Mail server: "),
        ({"own_servers": "0.0.0.0/0"}, "Own servers: "),
        ({"nameservers": "dns.example"}, "Nameservers: "),
        ({"nameservers": "127.0.0.1 " * 200}, "Nameservers: "),
    ],
    ids=str,
)
@pytest.mark.parametrize("do", ["review", "make"])
def test_wrong_answers_make_nothing(empty, wrong, said, do):
    page = empty.post("/quickstart", do=do, **ANSWERS | wrong)
    assert page.status == 422
    assert said in page.words, page.words
    assert MARKUP not in page.text
    assert organizations(empty) == ()


@pytest.mark.parametrize("who", ["reader", "tenant"])
def test_it_is_the_owners_alone(empty, who):
    assert empty.get("/quickstart", who).status in {403, 404}
    assert empty.post("/quickstart", who, do="make", **ANSWERS).status in {403, 404}
    assert organizations(empty) == ()
    assert 'href="/quickstart"' not in empty.get("/", who).text


def test_strangers_are_sent_to_the_log_in(empty):
    page = empty.get("/quickstart", authorization="")
    assert page.headers.get("location", "").startswith("/login") or page.status == 401
    assert empty.post("/quickstart", headers={"authorization": ""}, do="make", **ANSWERS).status in {303, 401, 403}
    assert organizations(empty) == ()


def test_the_second_step_is_a_certificate_that_others_trust(tmp_path):
    made = []
    for name, (chain, key) in {"own": self_signed([HOST]), "other": Authority("Root").issue([HOST])}.items():
        (tmp_path / f"{name}.pem").write_bytes(chain)
        (tmp_path / f"{name}.key").touch(0o600)
        (tmp_path / f"{name}.key").write_bytes(key)
        made.append(read_identity(load_identity(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")))
    assert [next_steps(made[:count])[1].path for count in (0, 1, 2)] == [
        "/certificates/requests/new",
        "/certificates/requests/new",
        "/doctor?network=1",
    ]
