from __future__ import annotations

import json
import threading

import pytest

from gatepost.manage.pages import editor
from gatepost.manage.use_cases import resources
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.name_lookup import KINDS
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.manage.use_cases.resources import PartName, set_part

from .conftest import OWNER

EDIT = "/connectors/edit/contoso/outbound/bank-out"
NAMED = PartName(KINDS["outbound_connector"], "contoso", "bank-out")


def form(centre, **more):
    """What a browser sends back of the form as it is, with some of it changed."""
    page = centre.get(EDIT)
    table = json.loads(page.value("was"))
    texts = {key: "\n".join(value) if isinstance(value, list) else value for key, value in table.items()}
    return {**texts, "was": page.value("was"), "do": "save", **more}


def test_a_change_is_made_and_the_rest_stays(centre):
    answer = centre.post(EDIT, **form(centre, tls_settings="encryption-only", note="they asked"))
    assert (answer.status, answer.headers["location"]) == (303, "/connectors/contoso/outbound/bank-out")
    assert centre.stored("outbound_connector", "bank-out") == {
        "name": "bank-out",
        "recipient_domains": ["bank.example"],
        "smart_hosts": ["127.0.0.1:1"],
        "tls_settings": "encryption-only",
    }


def test_another_name_takes_its_rules_along(centre):
    answer = centre.post(EDIT, **form(centre, name="the bank"))
    assert answer.headers["location"] == "/connectors/contoso/outbound/the%20bank"
    assert centre.stored("mail_flow_rule", "secrets")["route_via_connector"] == "the bank"


def test_errors_stand_beside_their_fields_and_nothing_is_lost(centre):
    answer = centre.post(EDIT, **form(centre, smart_hosts="good.example\nhost:99999", priority="5000", comment="mine"))
    assert answer.status == 422
    assert 'id="error-smart_hosts"' in answer.text
    assert 'id="error-priority"' in answer.text
    assert answer.value("comment") == "mine"
    assert centre.stored("outbound_connector", "bank-out")["smart_hosts"] == ["127.0.0.1:1"]


def test_what_would_change_is_shown_and_not_done(centre):
    answer = centre.post(EDIT, **form(centre, tls_settings="encryption-only", do="preview"))
    assert answer.status == 200
    assert "Nothing is saved yet." in answer.words
    assert "tls_settings" in answer.words
    assert "Re-evaluating the mail of the last 7 days" in answer.words
    assert answer.value("tls_settings") == "encryption-only"
    assert "tls_settings" not in centre.stored("outbound_connector", "bank-out")


PARTIAL = {"hx-request": "true", "hx-request-type": "partial"}


@pytest.mark.parametrize("headers", [PARTIAL, {}])
def test_what_it_would_do_to_mail_is_worked_out_behind_the_page(centre, headers, monkeypatch):
    go, patience = threading.Event(), "PATIENCE" if headers else "LONG_PATIENCE"
    stuck = centre.gateway.kept(ReportCounts).answers.of("ann", "before it", lambda: go.wait(20), 0)
    monkeypatch.setattr(editor, patience, 0.0)
    effects, made = form(centre, tls_settings="encryption-only", do="effects"), []
    monkeypatch.setattr(resources, "set_part", lambda *given: made.append(given) or set_part(*given))
    waiting = centre.post(EDIT, headers=headers, **effects)
    assert (stuck, waiting.status) == (None, 200)
    assert len(made) == (0 if headers else 1), "a part that asks once more has nothing checked anew"
    assert 'hx-trigger="load delay:1s"' in waiting.text
    monkeypatch.setattr(editor, patience, 20.0)
    go.set()
    answer = centre.post(EDIT, headers=headers, **effects)
    assert "No message was delivered or sent since" in answer.words
    assert "hx-trigger" not in answer.text
    assert ("Nothing is saved yet." in answer.words) is (not headers)
    assert "tls_settings" not in centre.stored("outbound_connector", "bank-out")


def test_what_was_changed_meanwhile_is_said_where_effects_were_asked_for(centre):
    effects = form(centre, tls_settings="encryption-only", do="effects")
    set_part(centre.gateway, OWNER, NAMED, {"tls_settings": "certificate-validation"}, ChangeOptions("bob"))
    answer = centre.post(EDIT, headers=PARTIAL, **effects)
    assert answer.status == 409
    assert answer.words.strip().endswith("Preview the changes again.")
    assert "<html" not in answer.text


def test_what_changes_nothing_does_nothing_to_mail(centre):
    answer = centre.post(EDIT, **form(centre, do="preview"))
    assert "No changes." in answer.words
    assert "Re-evaluating the mail" not in answer.words


def test_two_people_do_not_overwrite_each_other(centre):
    mine = form(centre, comment="mine")
    set_part(centre.gateway, OWNER, NAMED, {"comment": "theirs"}, ChangeOptions("bob"))
    answer = centre.post(EDIT, **mine)
    assert answer.status == 409
    assert "bob, " in answer.words
    assert "revision 2" in answer.words
    assert "theirs" in answer.words
    assert answer.value("comment") == "mine"
    assert centre.stored("outbound_connector", "bank-out")["comment"] == "theirs"
    again = centre.post(EDIT, **{**mine, "was": answer.value("was")})
    assert again.status == 303, "who has seen both may save"
    assert centre.stored("outbound_connector", "bank-out")["comment"] == "mine"


def test_what_others_changed_in_other_fields_stays(centre):
    """An edit of a comment took back that TLS is required, which its author never touched."""
    mine = form(centre, comment="mine")
    set_part(centre.gateway, OWNER, NAMED, {"tls_settings": "encryption-only"}, ChangeOptions("bob"))
    assert centre.post(EDIT, **mine).status == 303
    stored = centre.stored("outbound_connector", "bank-out")
    assert (stored["comment"], stored["tls_settings"]) == ("mine", "encryption-only")


def test_only_fields_that_both_changed_are_asked_about(centre):
    mine = form(centre, comment="mine")
    theirs = {"comment": "theirs", "tls_settings": "encryption-only"}
    set_part(centre.gateway, OWNER, NAMED, theirs, ChangeOptions("bob"))
    answer = centre.post(EDIT, **mine)
    assert answer.status == 409
    table = answer.text.partition("Conflicting changes")[2].partition("</table>")[0]
    assert "Comment" in table
    assert "TLS settings" not in table
    assert '<option value="encryption-only" selected' in answer.text, "the form has what is stored"
    assert centre.post(EDIT, **{**mine, "tls_settings": "encryption-only", "was": answer.value("was")}).status == 303
    stored = centre.stored("outbound_connector", "bank-out")
    assert (stored["comment"], stored["tls_settings"]) == ("mine", "encryption-only")


def test_a_change_between_look_and_save_is_merged_too(centre, monkeypatch):
    mine, made = form(centre, comment="mine"), []

    def overtaken(gateway, principal, named, values, wish):
        if not made:
            made.append(set_part(gateway, OWNER, NAMED, {"tls_settings": "encryption-only"}, ChangeOptions("bob")))
        return set_part(gateway, principal, named, values, wish)

    monkeypatch.setattr(resources, "set_part", overtaken)
    assert centre.post(EDIT, **mine).status == 303
    stored = centre.stored("outbound_connector", "bank-out")
    assert (stored["comment"], stored["tls_settings"]) == ("mine", "encryption-only")


def test_what_others_change_elsewhere_is_no_conflict(centre):
    mine = form(centre, comment="mine")
    other = PartName(KINDS["outbound_connector"], "contoso", "off")
    set_part(centre.gateway, OWNER, other, {"comment": "theirs"}, ChangeOptions("bob"))
    assert centre.post(EDIT, **mine).status == 303
    assert centre.stored("outbound_connector", "off")["comment"] == "theirs"


def test_a_form_that_changes_nothing_says_so(centre):
    before = centre.gateway.directory().version
    assert centre.post(EDIT, **form(centre)).status == 303
    assert centre.gateway.directory().version == before


@pytest.mark.parametrize("was", ["", "[]", "{", "null", '{"name": "x"}'])
def test_a_form_that_does_not_say_what_it_saw_changes_nothing(centre, was):
    assert centre.post(EDIT, **form(centre, comment="mine", was=was)).status == 409
    assert "comment" not in centre.stored("outbound_connector", "bank-out")


@pytest.mark.parametrize(("who", "status"), [("reader", 403), ("tenant", 404)])
def test_who_may_not_has_no_form(centre, who, status):
    assert centre.get(EDIT, who).status == status
    assert centre.post(EDIT, who, **form(centre, comment="mine")).status == status


def test_the_authority_of_a_partner_is_asked_for_at_once_with_the_way_to_trust_what_was_seen(centre):
    text = centre.get(EDIT).text
    shown, _, folded = text[text.index("<main") :].partition('<details class="fold"')
    assert 'name="trust_anchors"' in shown
    assert 'href="/connectors/trust/contoso/bank-out"' in shown
    assert 'name="trust_anchors"' not in folded
    assert "trust the issuer" not in centre.get("/connectors/edit/contoso/inbound/bank-in").words


@pytest.mark.parametrize(
    ("way", "fields"),
    [
        ("outbound/bank-out", ("smart_hosts", "tls_settings", "tls_domain", "trust_anchors")),
        ("inbound/bank-in", ("require_tls", "restrict_domains_to_certificate", "tls_sender_certificate_name")),
    ],
)
def test_what_connectors_are_changed_for_is_not_among_more_fields(centre, way, fields):
    asked, _, folded = centre.get(f"/connectors/edit/contoso/{way}").text.partition("More fields")
    assert folded
    assert [field for field in fields if f'name="{field}"' not in asked] == []
