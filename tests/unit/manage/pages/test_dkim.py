from __future__ import annotations

import pytest

from gatepost.analysis.checks.dkim_record import DkimObservation, RecordCheck
from gatepost.manage.use_cases import dkim
from gatepost.pki.certificates.dkim_keys import made_key
from gatepost.policy.connectors.values import DkimAlgorithm

from .conftest import OWNER

NAME = "s1._domainkey.contoso.example"
KEY = f"/dkim/view/contoso/{NAME}"
PEM = made_key(DkimAlgorithm.ED25519_SHA256).decode()
PART = {"hx_request": "true", "hx_request_type": "partial"}


@pytest.fixture
def seen(monkeypatch):
    """What the DNS is seen to have of every key."""
    found = [RecordCheck(DkimObservation.MISSING, "there is no TXT record")]

    async def dns_check(*_):
        return found[0]

    monkeypatch.setattr(dkim, "seen_record", dns_check)
    return found


def added(centre, **form):
    return centre.post(
        "/dkim/new", **{"domain": "contoso.example", "selector": "s1", "algorithm": "ed25519-sha256"} | form
    )


def audit_events(centre):
    return [
        (one.action, str(one.outcome), one.organization, one.subject)
        for one in centre.accounts.audit_events(OWNER)
        if "dkim" in one.action
    ]


def state(centre, name=NAME):
    return (centre.stored("dkim_key", name) or {}).get("state", "next")


def test_a_key_is_made_shown_let_sign_retired_and_removed(sealing, seen):
    answer = added(sealing, note="as agreed")
    assert (answer.status, answer.headers["location"]) == (303, KEY)
    page = sealing.get(KEY)
    assert "v=DKIM1; k=ed25519; p=" in page.words
    assert f"{NAME}. IN TXT" in page.words
    assert "PRIVATE" not in page.text
    assert "Start signing" in page.words

    refused = sealing.post(KEY, do="rotate")
    assert refused.status == 409
    assert "missing: there is no TXT record; the zone needs:" in refused.words
    assert "--" not in refused.words
    assert state(sealing) == "next"

    seen[0] = RecordCheck(DkimObservation.PUBLISHED)
    assert sealing.post(KEY, do="rotate", note="seen").status == 303
    assert state(sealing) == "current"
    assert sealing.post(KEY, do="rotate").headers["location"] == KEY, "twice does no harm"
    assert "contoso.example has no other current key, so its mail leaves unsigned" in sealing.get(KEY).words
    assert sealing.post(KEY, do="retire").status == 303
    assert state(sealing) == "retired"
    assert sealing.post(KEY, do="remove").headers["location"] == "/dkim"
    assert sealing.stored("dkim_key", NAME) is None
    assert audit_events(sealing) == [
        ("dkim-rotate", "done", "contoso", "contoso.example"),
        ("dkim-rotate", "refused", "contoso", "contoso.example"),
        ("dkim-add", "done", "contoso", NAME),
    ]


def test_the_list_comes_first_and_the_dns_afterwards(sealing, seen):
    added(sealing)
    assert "Checking" in sealing.get("/dkim").words
    part = sealing.get("/dkim?look=yes", **PART)
    assert part.text.lstrip().startswith('<div id="keys" class="dense">')
    assert "Missing" in part.words
    assert "long ago" not in part.words
    assert "Checking" not in sealing.get(f"{KEY}?part=seen", **PART).words
    assert (
        "added" in sealing.get(f"{KEY}?part=changes", **PART).words
        or "dkim_key" in sealing.get(f"{KEY}?part=changes", **PART).words
    )


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 1), ("?q=CONTOSO", 1), ("?q=other", 0), ("?state=next", 1), ("?state=retired", 0), ("?page=2", 1)],
)
def test_the_list_has_what_is_wanted(sealing, query, count):
    added(sealing)
    assert sealing.get(f"/dkim{query}").text.count(">s1</a>") == count


def test_files_have_the_record_and_no_private_key(sealing):
    added(sealing, key=PEM)
    (row,) = sealing.get("/dkim?format=json").json
    assert (row["private_key"], row["algorithm"]) == ("sealed", "ed25519-sha256")
    assert row["zone"].startswith(f"{NAME}. IN TXT")
    assert sealing.get("/dkim?format=csv").text.startswith("organization,domain,selector,name,state")
    assert PEM.splitlines()[1] not in sealing.get("/dkim?format=json").text


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"domain": "con toso"}, "is not a domain"),
        ({"domain": "other.example"}, "no organization accepts other.example"),
        ({"selector": "a b"}, "is not a name of a DKIM key"),
        ({"key": "hello"}, "there is no private key in PEM form"),
        ({"algorithm": "none", "key": PEM + "x" * 10, "selector": "s 1"}, "is not a name of a DKIM key"),
    ],
)
def test_a_form_that_is_wrong_is_shown_again_without_its_key(sealing, form, why):
    answer = added(sealing, **form)
    assert answer.status == 422
    assert why.lower() in answer.words.lower()
    assert "PRIVATE KEY-----\n" not in answer.text
    assert sealing.get("/dkim?format=json").json == []


def test_a_name_that_is_taken_is_said(sealing):
    added(sealing)
    assert "already" in added(sealing).words


def test_without_a_master_key_it_is_said_before(centre):
    assert "name no store.master_key" in centre.get("/dkim/new?domain=contoso.example").words
    assert "store.master_key" in added(centre).words


def test_a_private_key_is_brought_in(sealing, seen):
    key = sealing.gateway
    with key.config() as store:
        _, found = store.load()
        table = found["organization"]["contoso"] | {"dkim_key": [{"name": NAME, "algorithm": "ed25519-sha256"}]}
        store.apply({"organization": {"contoso": table}}, author="root")
    assert "The private key is not in this gateway" in sealing.get(KEY).words
    assert "The record is not known" in sealing.get(KEY).words
    assert "no private key in PEM form" in sealing.post(KEY, do="import", key="x").words
    assert sealing.post(KEY, do="import", key=PEM).status == 303
    assert sealing.get("/dkim?format=json").json[0]["private_key"] == "sealed"
    assert audit_events(sealing) == [
        ("dkim-import", "done", "contoso", NAME),
        ("dkim-import", "refused", "contoso", NAME),
    ]


def test_tenants_and_readers(sealing):
    added(sealing)
    assert "No DKIM keys yet" in sealing.get("/dkim", "tenant").words
    assert sealing.get(KEY, "tenant").status == 404
    assert sealing.post(KEY, "tenant", do="remove").status == 404
    assert sealing.post("/dkim/new", "tenant", domain="contoso.example").status == 422
    assert sealing.post("/dkim/new", "tenant", domain="fabrikam.example", selector="f").status == 303
    assert sealing.get("/dkim/new", "reader").status == 403
    assert sealing.post(KEY, "reader", do="retire").status == 403
    assert "Add a key" not in sealing.get("/dkim", "reader").words
    assert "Remove" not in sealing.get(KEY, "reader").words


def test_what_is_not_there(sealing):
    assert sealing.get("/dkim/view/contoso/x._domainkey.contoso.example").status == 404
    added(sealing)
    assert sealing.post(KEY, do="sing").status == 404
