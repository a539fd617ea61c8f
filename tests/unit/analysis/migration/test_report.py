from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.migration.report import (
    KINDS,
    Finding,
    ImportRefused,
    ImportResult,
    Part,
    assemble,
    rehearse,
    slug,
    unique_name,
)
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.records import Organization


def domain(name: str, **fields: object) -> Part:
    return Part("accepted_domain", f"accepted domain {name!r}", {"name": name, **fields})


def outbound(name: str, **fields: object) -> Part:
    return Part("outbound_connector", f"outbound connector {name!r}", {"name": name, **fields})


def lines(parts):
    return [(one.resource, str(one.outcome), one.setting) for one in assemble("o", parts).findings]


def test_the_kinds_are_those_of_an_organization():
    aliases = [field.alias for field in Organization.model_fields.values() if field.alias]
    assert list(KINDS) == aliases


SLUGS = [
    ("Contoso Ltd.", "contoso-ltd"),
    ("", "imported"),
    ("---", "imported"),
    ("Ünïcode", "n-code"),
    ("a" * 80, "a" * 63),
    (f"{'a' * 62} b", "a" * 62),
]


@pytest.mark.parametrize(("text", "name"), SLUGS)
def test_a_slug_is_a_name(text, name):
    assert slug(text) == name
    parse({"organization": {slug(text): {}}})


NAMES = [
    (["a", "a", "A"], ["a", "a (2)", "A (3)"]),
    (["x" * 70, "x" * 70], ["x" * 64, "x" * 60 + " (2)"]),
    (["a (2)", "a", "a", "a"], ["a (2)", "a", "a (3)", "a (4)"]),
    (["a\tb\u202e", " "], ["a b", "unnamed"]),
]


@pytest.mark.parametrize(("wanted", "names"), NAMES)
def test_names_become_unique(wanted, names):
    taken: dict[str, int] = {}
    assert [unique_name(one, taken) for one in wanted] == names


def test_what_is_right_is_carried_over():
    noted = outbound("x", recipient_domains=["b.example"])
    noted.differs("TlsDomain", "left out")
    own = Part("organization", "organization", {"display_name": "O"})
    own.lost("Other", "no")
    imported = assemble("o", [own, domain("o.example"), outbound("w", recipient_domains=["c.example"]), noted])
    assert imported.document == {
        "organization": {
            "o": {
                "display_name": "O",
                "accepted_domain": [{"name": "o.example"}],
                "outbound_connector": [
                    {"name": "w", "recipient_domains": ["c.example"]},
                    {"name": "x", "recipient_domains": ["b.example"]},
                ],
            }
        }
    }
    assert imported.notes == {
        ("organization", 0): ("not carried over: Other: no",),
        ("outbound_connector", 1): ("differs: TlsDomain: left out",),
    }
    assert [imported.count(outcome) for outcome in ImportResult] == [4, 1, 1]
    assert imported.left_out == ()


def test_two_parts_may_speak_of_the_organization():
    one, other = (Part("organization", name) for name in ("one", "other"))
    one.lost("A", "a")
    other.lost("B", "b")
    assert len(assemble("o", [one, other]).notes["organization", 0]) == 2


def test_what_our_checks_refuse_is_left_out_with_the_reason():
    bad = outbound('it\'s "odd" [1].x', recipient_domains=["b..example"])
    imported = assemble("o", [domain("o.example"), bad, outbound("good", recipient_domains=["c.example"])])
    assert [one["name"] for one in imported.document["organization"]["o"]["outbound_connector"]] == ["good"]
    ((kind, why, table),) = imported.left_out
    assert kind == "outbound_connector"
    assert why.startswith("recipient_domains: ")
    assert table["recipient_domains"] == ["b..example"]
    lost = [one for one in imported.findings if one.outcome is ImportResult.LOST]
    assert [one.resource for one in lost] == [bad.label]
    assert "goes by MX" in lost[0].detail


def test_what_depends_on_something_left_out_goes_too():
    inbound = Part(
        "inbound_connector",
        "inbound",
        {"name": "in", "sender_domains": ["*"], "associated_accepted_domains": ["o.example"]},
    )
    assert lines([domain("o.example", type="nonsense"), inbound]) == [
        ("accepted domain 'o.example'", "not carried over", ""),
        ("inbound", "not carried over", ""),
    ]


def test_a_part_without_a_name_is_found_as_well():
    assert lines([Part("accepted_domain", "domain", {}), Part("mailbox", "box", {"address": "nonsense"})]) == [
        ("domain", "not carried over", ""),
        ("box", "not carried over", ""),
    ]


def test_a_name_that_is_no_text_is_found_as_well():
    part = Part("outbound_connector", "x", {"name": {"table": 1}, "recipient_domains": ["b.example"]})
    assert lines([part]) == [("x", "not carried over", "")]


def test_a_fallback_is_tried_before_a_part_is_left_out():
    part = outbound("x", recipient_domains=["b.example"], smtp_dane_mode="nonsense", min_tls_version="TLSv1.3")
    part.fallbacks["smtp_dane_mode"] = ({"tls_settings": "encryption-only"}, "Written instead")
    imported = assemble("o", [part])
    (table,) = imported.document["organization"]["o"]["outbound_connector"]
    assert table["tls_settings"] == "encryption-only"
    assert "smtp_dane_mode" not in table
    assert "Written instead" in imported.findings[-1].detail


def test_a_fallback_that_is_refused_too():
    part = outbound("x", recipient_domains=["b.example"], smtp_dane_mode="nonsense")
    part.fallbacks["smtp_dane_mode"] = ({"tls_settings": "nonsense"}, "Written instead")
    assert lines([part])[-1] == (part.label, "not carried over", "")


def test_a_field_of_the_organization_is_left_out_alone():
    own = Part("organization", "organization", {"message_expiration": "99d", "display_name": "O"})
    imported = assemble("o", [own])
    assert imported.document == {"organization": {"o": {"display_name": "O"}}}
    assert imported.findings[-1].setting == "message_expiration"


@pytest.mark.parametrize("name", ["Not A Name", "", "a.b", "x" * 64])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ImportRefused, match="--organization"):
        assemble(name, [domain("o.example")])


def test_the_first_reason_counts():
    part = Part("", "x")
    part.refuse("one")
    part.refuse("two")
    assert assemble("o", [part]).findings == (Finding("x", ImportResult.LOST, "", "one"),)


def test_what_becomes_no_resource_is_only_reported():
    part = Part("", "parameters")
    part.lost("x", "y")
    assert lines([part]) == [("parameters", "not carried over", "x")]
    assert lines([Part("organization", "organization")]) == []


PARTNER = {"name": "in", "connector_type": "partner", "sender_domains": ["b.example"]}
OWN = {"name": "in", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.1"]}
OUTBOUND = {"name": "out", "recipient_domains": ["b.example"]}
LOGS_IN = {"authentication": {"username": "u", "secret_file": "/s"}, "tls_settings": "domain-validation",
           "smart_hosts": ["mx.b.example"]}  # fmt: skip

REHEARSALS = [
    ("inbound_connector", PARTNER, False),
    ("inbound_connector", PARTNER | {"require_tls": True}, True),
    ("inbound_connector", PARTNER | {"require_tls": True, "enabled": True}, True),
    ("inbound_connector", PARTNER | {"require_tls": True, "enabled": False}, False),
    ("inbound_connector", PARTNER | {"restrict_domains_to_ip_addresses": True, "sender_ip_addresses": ["192.0.2.1"]},
     True),
    ("inbound_connector", PARTNER | {"restrict_domains_to_certificate": True,
                                     "tls_sender_certificate_name": "b.example"}, True),
    ("inbound_connector", OWN | {"require_tls": True}, False),
    ("outbound_connector", OUTBOUND, False),
    ("outbound_connector", OUTBOUND | {"tls_settings": "opportunistic"}, False),
    ("outbound_connector", OUTBOUND | {"tls_settings": "encryption-only"}, True),
    ("outbound_connector", OUTBOUND | {"smtp_dane_mode": "opportunistic"}, False),
    ("outbound_connector", OUTBOUND | {"smtp_dane_mode": "mandatory"}, True),
    ("outbound_connector", OUTBOUND | LOGS_IN, False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "table", "judges"), REHEARSALS)
def test_what_demands_something_of_partners_judges_only_at_first(kind, table, judges):
    """What lets own servers relay, or sends a password, is left as it is."""
    imported = assemble("o", [domain("o.example"), Part(kind, "connector", dict(table))])
    assert rehearse(imported) == int(judges)
    (written,) = imported.document["organization"]["o"][kind]
    assert written == (table | {"mode": "rehearse"} if judges else table)
    parse(imported.document)


def test_all_connectors_of_both_directions_rehearse():
    required = outbound("x", recipient_domains=["b.example"], tls_settings="encryption-only")
    demanding = Part("inbound_connector", "in", PARTNER | {"require_tls": True})
    assert rehearse(assemble("o", [required, outbound("y", recipient_domains=["c.example"]), demanding])) == 2


TABLES = st.dictionaries(
    st.sampled_from(["name", "recipient_domains", "smart_hosts", "tls_settings", "tls_domain", "enabled", "other"]),
    st.none() | st.booleans() | st.text(max_size=8) | st.lists(st.text(max_size=8), max_size=2),
)


@given(st.lists(TABLES, max_size=4))
def test_the_document_can_always_be_applied(tables):
    parts = [Part("outbound_connector", "x", {"name": str(n), **table}) for n, table in enumerate(tables)]
    parse(assemble("o", parts).document)


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ({}, ""),
        ({"authentication": None, "recipient_directory": None}, ""),
        ({"authentication": {"secret_file": "/s"}}, "/s"),
        ({"recipient_directory": {"password_file": "/p"}}, "/p"),
    ],
)
def test_the_file_of_a_secret_is_known(table, file):
    assert Part("outbound_connector", "outbound connector 'x'", table).secret_file == file
