from __future__ import annotations

import threading
from contextlib import closing

import pytest

from gatepost.manage.pages.certificate_forms import errors_of, public_part
from gatepost.manage.use_cases import acme_renewal
from gatepost.manage.use_cases.acme_renewal import RenewalSubject
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError

from .conftest import OWNER, Centre

HOST = "mx.gate.example"


@pytest.fixture
def asking(tmp_path):
    """One whose ACME authority is out of reach."""
    key = tmp_path / "master.key"
    key.touch(0o600)
    key.write_bytes(bytes(range(32)))
    acme = '[acme]\nagree_tos = true\ndirectory_url = "https://127.0.0.1:1/directory"\n'
    with closing(Centre(tmp_path, f'[store]\nmaster_key = "file:{key}"\n{acme}')) as made:
        yield made


def test_errors_are_told_by_field():
    refusal = Refusal(RefusalKind.INPUT, "no", [FieldError("key", "is needed")])
    assert errors_of(refusal) == {"key": "Is needed"}
    assert errors_of(Refusal(RefusalKind.INPUT, "no such thing")) == {"": "No such thing"}


def test_a_form_that_is_shown_again_has_no_key():
    chain = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    assert public_part(f"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n{chain}") == chain


def test_an_authority_is_asked_once_however_often_it_is_clicked(asking, monkeypatch):
    clicked, renew = threading.Event(), acme_renewal.renew  # else the first could end before the second is there
    monkeypatch.setattr(acme_renewal, "renew", lambda *args: clicked.wait(20) and renew(*args))
    assert "Request now" in asking.get("/certificates/acme").words
    assert "Request now" not in asking.get("/certificates/acme", "reader").words
    assert asking.post("/certificates/acme/renew", name=HOST).headers["location"] == "/certificates/acme"
    asking.post("/certificates/acme/renew", name=HOST)
    clicked.set()
    (job,) = asking.gateway.kept(Jobs).recent(OWNER, RenewalSubject)
    assert job.wait(20)
    assert f"No certificate for {HOST}" in asking.get("/certificates/acme").words
    events = [one for one in asking.accounts.audit_events(OWNER) if one.action == "certificate-renew"]
    assert {(str(one.outcome), one.subject) for one in events} == {("failed", HOST)}
    assert "cannot be reached" in events[-1].detail["result"]


def test_who_may_not_and_what_is_not_there(asking):
    assert asking.post("/certificates/acme/renew", "reader", name=HOST).status == 403
    assert asking.post("/certificates/acme/renew", "tenant", name=HOST).status == 404
    assert asking.post("/certificates/acme/renew", name="b.example").status == 303
    assert asking.gateway.kept(Jobs).recent(OWNER, RenewalSubject) == []


def test_a_form_without_a_certificate_says_what_to_paste(asking):
    answer = asking.post("/certificates/add", chain="  ", label="a")
    assert (answer.status, "Paste the certificate, starting with -----BEGIN CERTIFICATE-----" in answer.words) == (
        422,
        True,
    )
    (event,) = [one for one in asking.accounts.audit_events(OWNER) if one.action == "certificate-add"]
    assert str(event.outcome) == "refused"
