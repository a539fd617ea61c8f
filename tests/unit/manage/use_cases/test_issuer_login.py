"""The whole way to an issuer and back, at one that listens on loopback."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

import msgspec
import pytest
import tomlkit
from support.issuer import CONFIGURATION, Issuer

from gatepost.decoding import from_json
from gatepost.manage.access.principal import Role
from gatepost.manage.access.slots import Slots
from gatepost.manage.access.user_rows import IssuerIdentity
from gatepost.manage.use_cases import issuer_login
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.issuer_login import BeginIssuerLogIn, map_claims
from gatepost.manage.use_cases.issuer_login import _Failed as IssuerLogInFailed
from gatepost.manage.use_cases.refusal import BusyRefusal, RefusalKind
from gatepost.net.anchors import TrustAnchors
from gatepost.net.lookups.http import https_context
from gatepost.settings.loader import load
from gatepost.settings.sections import GroupRole, Oidc

SECRET = "a client secret + with / signs"
BACK = "https://mx.gate.example/login/issuer/answer"
ANN = {"sub": "4711", "preferred_username": "ann", "groups": ["staff", "help"]}


@pytest.fixture(autouse=True)
def nothing_known():
    """What an issuer that listened on the same port before said of itself."""
    issuer_login._metadata.clear()
    issuer_login._anchors.clear()


@pytest.fixture
def issuer(pki):
    with Issuer(pki.leaf("127.0.0.1"), "ecdsa") as started:
        started.secret = SECRET
        started.person = dict(ANN)
        yield started


@pytest.fixture
def gateway(tmp_path, pki, issuer):
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    oidc = {
        "issuer": issuer.url,
        "client_id": "gatepost",
        "client_secret": f"file:{tmp_path / 'secret'}",
        "scopes": ["profile", "openid", "groups"],
        "private_issuer": True,
        "trust_anchors": str(pki.root),
        "timeout": 30,
        "group": [{"name": "help", "role": "operator", "organizations": ["contoso"]}],
    }
    file = tmp_path / "gatepost.toml"
    document = {"server": {"hostname": "mx.gate.example", "data_dir": "data"}, "oidc": oidc}
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
    return Gateway(load(str(file), {}))


class Stay(HTTPRedirectHandler):
    def http_error_303(self, _request, answer, *_):
        return answer


def sent_back(gateway, url):
    """What the person's browser brings back from the issuer."""
    context = https_context(TrustAnchors.load(gateway.settings.oidc.trust_anchors))
    with build_opener(HTTPSHandler(context=context), Stay()).open(url, timeout=30) as answer:
        return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))


def begin(gateway, redirect, target, now, *, again):
    return issuer_login._begin(gateway.settings, BeginIssuerLogIn(redirect=redirect, target=target, again=again), now)


def end(gateway, ticket, answer, now):
    return issuer_login._end(gateway.settings, ticket, answer, now)


def came_back(gateway, *, again=False, now=None):
    now = now or time.time()
    url, ticket = begin(gateway, BACK, "/queue", now, again=again)
    return ticket, sent_back(gateway, url)


def test_log_ins_go_on_while_the_trust_anchors_cannot_be_read(gateway, pki, tmp_path, caplog):
    anchors, file = tmp_path / "issuer.pem", tmp_path / "gatepost.toml"
    file.write_text(file.read_text().replace(gateway.settings.oidc.trust_anchors, str(anchors)))
    gateway = Gateway(load(str(file), {}))
    with pytest.raises(IssuerLogInFailed, match="No such file or directory"):
        begin(gateway, BACK, "/queue", time.time(), again=False)
    issuer_login._metadata.clear()
    anchors.write_bytes(pki.root.read_bytes())
    url, ticket = begin(gateway, BACK, "/queue", time.time(), again=False)
    answer = dict(parse_qsl(urlsplit(url).query))
    assert answer["state"] == ticket.state
    anchors.write_bytes(b"half a renewal")
    issuer_login._metadata.clear()
    assert begin(gateway, BACK, "/queue", time.time(), again=False)[0].startswith(url.partition("?")[0])
    assert "log-ins at the issuer go by the trust anchors that were read last" in caplog.text


def test_what_the_person_is_sent_with(gateway, issuer):
    now = time.time()
    url, ticket = begin(gateway, BACK, "/queue", now, again=False)
    assert url.startswith(f"{issuer.url}/authorize?")
    query = dict(parse_qsl(urlsplit(url).query))
    challenge = urlsafe_b64encode(sha256(ticket.verifier.encode()).digest()).decode().rstrip("=")
    assert query == {
        "response_type": "code",
        "client_id": "gatepost",
        "redirect_uri": BACK,
        "scope": "openid profile groups",
        "state": ticket.state,
        "nonce": ticket.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert (ticket.redirect, ticket.target, ticket.again, ticket.at) == (BACK, "/queue", False, now)
    assert len({ticket.state, ticket.nonce, ticket.verifier}) == 3
    assert min(map(len, (ticket.state, ticket.nonce, ticket.verifier))) >= 43, "RFC 7636 section 4.1"
    assert from_json(msgspec.json.encode(ticket), issuer_login.Ticket) == ticket
    assert ticket.verifier not in url
    assert begin(gateway, BACK, "/", now, again=False)[1].state != ticket.state


def test_an_address_that_has_a_query_keeps_it(gateway, issuer):
    issuer.endpoints["authorization_endpoint"] = f"{issuer.url}/authorize?realm=staff"
    issuer.publish()
    url, _ = begin(gateway, BACK, "/", time.time(), again=True)
    query = dict(parse_qsl(urlsplit(url).query))
    assert (query["realm"], query["prompt"], query["max_age"]) == ("staff", "login", "0")


def test_who_came_back(gateway):
    ticket, answer = came_back(gateway)
    found = end(gateway, ticket, answer, time.time())
    person = found.person
    assert (person.subject, person.name, person.role, person.organizations) == (
        "4711",
        "ann",
        Role.OPERATOR,
        {"contoso"},
    )
    assert 0 < found.proved <= time.time()


def test_when_they_proved_it(gateway, issuer):
    for said, proved in ((None, 0), ("soon", 0), (-1, 0), (2**40, 0), (1_700_000_000, 1_700_000_000)):
        issuer.spoil = lambda claims, said=said: claims | {"auth_time": said}
        ticket, answer = came_back(gateway)
        assert end(gateway, ticket, answer, time.time()).proved == proved, said
    ticket, answer = came_back(gateway, again=True)
    with pytest.raises(IssuerLogInFailed, match="prove anew"):
        end(gateway, ticket, answer, time.time())
    issuer.spoil = dict
    ticket, answer = came_back(gateway, again=True)
    assert end(gateway, ticket, answer, time.time()).proved > 0


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"state": "x" * 43}, r"\(state\)"),
        ({"state": "ä"}, r"\(state\)"),
        ({"state": None}, r"\(state\)"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "does not say of which issuer"),
        ({"code": None, "error": "invalid_scope"}, "did not let the person in: invalid_scope$"),
        ({"code": None, "error": "of a stranger"}, "did not let the person in$"),
        ({"code": "x" * 5000}, "did not let"),
        ({"code": "another"}, "status 400"),
    ],
)
def test_answers_that_let_nobody_in(gateway, changed, why):
    ticket, answer = came_back(gateway)
    answer = {name: value for name, value in (answer | changed).items() if value is not None}
    with pytest.raises(IssuerLogInFailed, match=why):
        end(gateway, ticket, answer, time.time())


@pytest.mark.parametrize("later", [600.0, -1.0])
def test_a_ticket_ends(gateway, later):
    ticket, answer = came_back(gateway)
    with pytest.raises(IssuerLogInFailed, match="ten minutes"):
        end(gateway, ticket, answer, ticket.at + later)


def test_a_code_is_good_once_and_for_its_log_in(gateway):
    ticket, answer = came_back(gateway)
    other, _ = came_back(gateway)
    with pytest.raises(IssuerLogInFailed, match="status 400"):  # PKCE: the verifier is not its own
        end(gateway, msgspec.structs.replace(ticket, verifier=other.verifier), answer, time.time())
    ticket, answer = came_back(gateway)
    assert end(gateway, ticket, answer, time.time())
    with pytest.raises(IssuerLogInFailed, match="status 400"):
        end(gateway, ticket, answer, time.time())


def test_whoever_is_in_no_group(gateway, issuer):
    issuer.person["groups"] = ["staff"]
    ticket, answer = came_back(gateway)
    with pytest.raises(IssuerLogInFailed, match="none of the person's groups"):
        end(gateway, ticket, answer, time.time())


def test_a_nonce_that_is_no_text_of_the_internet(gateway, issuer):
    issuer.spoil = lambda claims: claims | {"nonce": "\ud800"}
    ticket, answer = came_back(gateway)
    with pytest.raises(IssuerLogInFailed):
        end(gateway, ticket, answer, time.time())


def test_an_issuer_that_is_away_or_another(gateway, issuer):
    issuer.pages[CONFIGURATION] = b"{}"
    with pytest.raises(IssuerLogInFailed, match="another issuer"):
        begin(gateway, BACK, "/", time.time(), again=False)
    issuer.stop()
    issuer_login._metadata.clear()
    with pytest.raises(IssuerLogInFailed):
        begin(gateway, BACK, "/", time.time(), again=False)


def test_an_issuer_that_is_away_is_asked_by_strangers_now_and_then_and_fills_no_audit(gateway, issuer, monkeypatch):
    issuer.pages[CONFIGURATION] = b"{}"
    with pytest.raises(IssuerLogInFailed, match="another issuer"):
        begin(gateway, BACK, "/", time.time(), again=False)
    issuer.publish()
    for _ in range(3):
        with pytest.raises(BusyRefusal, match="did not work some seconds ago") as busy:
            begin(gateway, BACK, "/", time.time(), again=False)
        assert busy.value.kind is RefusalKind.FORBIDDEN, "which `execute` does not record each time"
    monkeypatch.setattr(issuer_login, "_FAILED_FOR", 0.0)
    assert begin(gateway, BACK, "/", time.time(), again=False)


def test_a_secret_that_is_not_there(gateway, tmp_path):
    (tmp_path / "secret").unlink()
    with pytest.raises(IssuerLogInFailed, match="client secret"):
        begin(gateway, BACK, "/", time.time(), again=False)


def test_more_than_are_served_at_once_are_told_to_wait(gateway, monkeypatch):
    slots = Slots(1)
    monkeypatch.setattr(issuer_login, "_SLOTS", slots)
    assert slots.acquire("")
    with pytest.raises(BusyRefusal) as busy:
        begin(gateway, BACK, "/", time.time(), again=False)
    slots.release("")
    assert busy.value.kind is RefusalKind.FORBIDDEN, "which `execute` does not record each time"
    assert begin(gateway, BACK, "/", time.time(), again=False), "a place that was taken is given back"


def test_whoever_begins_again_and_again_neither_floods_the_issuer_nor_takes_the_places_of_others(
    gateway, issuer, monkeypatch
):
    """The page needs no name and no password."""
    begin(gateway, BACK, "/", time.time(), again=False)
    issuer.stop()
    monkeypatch.setattr(issuer_login, "_SLOTS", Slots(0))
    first, second = (begin(gateway, BACK, "/", time.time(), again=False) for _ in range(2))
    assert first[1].state != second[1].state
    monkeypatch.setattr(issuer_login, "_METADATA_FOR", 0.0)
    with pytest.raises(BusyRefusal):
        begin(gateway, BACK, "/", time.time(), again=False)
    monkeypatch.setattr(issuer_login, "_SLOTS", Slots(1))
    with pytest.raises(IssuerLogInFailed):
        begin(gateway, BACK, "/", time.time(), again=False)


def test_one_beginning_at_a_time_asks_the_issuer(gateway):
    with issuer_login._asking, pytest.raises(BusyRefusal):
        begin(gateway, BACK, "/", time.time(), again=False)
    assert begin(gateway, BACK, "/", time.time(), again=False)


OIDC = Oidc(
    issuer="https://login.example",
    client_id="gatepost",
    group=[
        {"name": "owners", "role": "owner"},
        {"name": "help", "role": "operator", "organizations": ["contoso"]},
    ],
)
CLAIMS = {"sub": "4711", "preferred_username": "wendy", "groups": ["help"]}


def test_the_roles_are_the_same():
    assert {one.value for one in GroupRole} == {one.value for one in Role}


@pytest.mark.parametrize(
    ("groups", "role", "organizations"),
    [(["staff", "help"], Role.OPERATOR, {"contoso"}), (["help", "owners"], Role.OWNER, None)],
)
def test_the_first_group_of_the_settings_counts(groups, role, organizations):
    assert map_claims(OIDC, CLAIMS | {"groups": groups}) == IssuerIdentity(
        OIDC.issuer, "4711", "wendy", role, organizations
    )


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"sub": None}, "claim sub"),
        ({"sub": ""}, "claim sub"),
        ({"sub": "x" * 256}, "claim sub"),
        ({"preferred_username": 5}, "claim preferred_username"),
        ({"groups": "owners"}, "claim groups"),
        ({"groups": []}, "none of the person's groups"),
        ({"groups": ["Owners", None, {}]}, "none of the person's groups"),
    ],
)
def test_who_does_not_come_in(claims, why):
    assert why in map_claims(OIDC, CLAIMS | claims)
