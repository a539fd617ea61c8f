from __future__ import annotations

import pytest

from gatepost.language import in_language
from gatepost.manage.pages.fields import Control, errors_by_field, form_fields, label_of, texts_of, values_of
from gatepost.manage.use_cases.name_lookup import KINDS
from gatepost.manage.use_cases.part_record import table_of
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.records import Organization

OUTBOUND = KINDS["outbound_connector"].model
TABLE = {
    "name": "bank-out",
    "recipient_domains": ["bank.example", "*.bank.example"],
    "smart_hosts": ["mx.bank.example:2525"],
    "use_mx_record": False,
    "tls_settings": "domain-validation",
    "min_tls_version": "TLSv1.3",
    "client_certificate": {"label": "bank"},
    "priority": 5,
    "enabled": False,
}


def test_every_field_of_every_kind_is_asked():
    for kind in KINDS.values():
        asked = {one.key.partition(".")[0] for one in form_fields(kind.model)}
        assert asked == set(kind.model.model_fields)
        assert all(one.meaning for one in form_fields(kind.model))


@pytest.mark.parametrize("language", ["en", "sv", "de"])
def test_a_hint_has_the_labels_of_its_choices(language):
    with in_language(language):
        for kind in KINDS.values():
            for one in form_fields(kind.model):
                told = [code for code, text in one.choices if code != text and f" {code}: " in f" {one.meaning} "]
                assert told == [], one.meaning


def test_a_hint_has_the_label_where_a_code_would_stand():
    meanings = {one.key: one.meaning for one in form_fields(OUTBOUND)}
    assert meanings["mode"].startswith("Rehearse: the connector routes mail;")
    assert meanings["tls_settings"].startswith(
        "Opportunistic: TLS if the next hop offers it. Encryption only: TLS with"
    )


PEM = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("key", "control", "required", "default"),
    [
        ("name", Control.TEXT, True, ""),
        ("enabled", Control.CHOICE, False, "yes"),
        ("use_mx_record", Control.CHOICE, False, ""),
        ("tls_settings", Control.CHOICE, False, "opportunistic"),
        ("min_tls_version", Control.CHOICE, False, ""),
        ("recipient_domains", Control.LINES, False, ""),
        ("priority", Control.NUMBER, False, "100"),
        ("client_certificate.chain", Control.TEXT, False, ""),
        ("trust_anchors", Control.LONG, False, ""),
    ],
)
def test_a_field_is_asked_as_it_is_declared(key, control, required, default):
    one = next(one for one in form_fields(OUTBOUND) if one.key == key)
    assert (one.control, one.required, one.default) == (control, required, default)
    assert bool(one.choices) is (control is Control.CHOICE)


def test_a_choice_that_must_be_made_has_no_default():
    hook = {one.key: one for one in form_fields(KINDS["content_hook"].model)}
    assert hook["type"].choices == (("rspamd", "rspamd"), ("clamav", "ClamAV"))
    assert hook["on_failure"].choices[0] == ("", "Default (Defer)")
    assert hook["timeout"].default == "30s"


def test_parts_of_an_organization_are_not_asked():
    asked = [one.key for one in form_fields(Organization, without=("name",))]
    assert "display_name" in asked
    assert not {"name", "mailbox", "accepted_domain"} & set(asked)


def test_what_a_form_shows_comes_back_as_it_was():
    asked = form_fields(OUTBOUND)
    texts = texts_of(asked, TABLE)
    assert (texts["recipient_domains"], texts["enabled"], texts["priority"]) == (
        "bank.example\n*.bank.example",
        "false",
        "5",
    )
    assert (texts["client_certificate.label"], texts["client_certificate.key"], texts["comment"]) == ("bank", "", "")
    values = values_of(asked, {key: text.replace("\n", "\r\n") for key, text in texts.items()})
    written = {key: value for key, value in values.items() if value is not None}
    written["client_certificate"] = {key: value for key, value in written["client_certificate"].items() if value}
    assert written == TABLE
    assert set(values) == set(OUTBOUND.model_fields)


def test_certificates_come_back_line_by_line():
    asked = [one for one in form_fields(OUTBOUND) if one.key == "trust_anchors"]
    texts = texts_of(asked, {"trust_anchors": PEM})
    assert texts["trust_anchors"] == PEM.strip()
    given = values_of(asked, {"trust_anchors": PEM.replace("\n", "\r\n")})
    assert given == {"trust_anchors": PEM.strip()}


def test_an_empty_form_writes_nothing():
    assert set(values_of(form_fields(OUTBOUND), {}).values()) == {None}


def test_the_stored_table_is_what_texts_are_made_of():
    resources = parse({"organization": {"contoso": {"outbound_connector": [TABLE | {"client_certificate": None}]}}})
    (stored,) = resources.organizations[0].outbound_connectors
    assert texts_of(form_fields(OUTBOUND), table_of(stored))["min_tls_version"] == "TLSv1.3"


def test_a_number_that_is_none_is_left_for_the_model_to_say():
    assert values_of(form_fields(OUTBOUND), {"priority": "many"})["priority"] == "many"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("recipient_domains[1]", "recipient_domains"),
        ("client_certificate.label", "client_certificate.label"),
        ("client_certificate.label.x", "client_certificate.label"),
        ("elsewhere", ""),
        ("", ""),
    ],
)
def test_errors_stand_beside_their_field(path, key):
    found = errors_by_field(form_fields(OUTBOUND), [FieldError(path, "is wrong")], "all is wrong")
    assert list(found) == [key]
    assert found[key] == ("Is wrong" if key else f"{path}: is wrong")


def test_two_errors_of_a_field_are_both_said_and_none_is_the_text():
    two = [FieldError("smart_hosts[0]", "is wrong"), FieldError("smart_hosts[1]", "is odd")]
    assert errors_by_field(form_fields(OUTBOUND), two, "") == {"smart_hosts": "Is wrong. Is odd"}
    assert errors_by_field(form_fields(OUTBOUND), [], "it is taken") == {"": "it is taken"}


def test_of_very_many_errors_of_a_field_the_first_are_said():
    """Such as of a list of a hundred thousand lines, which took long, and made a page of megabytes."""
    many = [FieldError(f"smart_hosts[{at}]", f"is wrong {at}") for at in range(100_000)]
    (said,) = errors_by_field(form_fields(OUTBOUND), many, "").values()
    assert said.startswith("Is wrong 0. Is wrong 1. ")
    assert said.endswith(". Is wrong 19. And 99,980 more.")


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("tls_sender_certificate_name", "TLS sender certificate name"),
        ("mta_sts_mx", "MTA-STS MX"),
        ("client_certificate.label", "Label"),
        ("smtp_dane_mode", "SMTP DANE mode"),
        ("source_ipv4_address", "Source IPv4 address"),
    ],
)
def test_labels_are_words(key, label):
    assert label_of(key) == label
