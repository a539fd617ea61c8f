from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse

FAR = "keep@far.example"
SAFE = {"tls_settings": "domain-validation", "tls_domain": "mx.far.example"}


def connector(**fields: Any) -> dict[str, Any]:
    return {"name": "far", "recipient_domains": ["far.example"], "smart_hosts": ["mx.far.example"]} | fields


def organization(*connectors: dict[str, Any], **fields: Any) -> dict[str, Any]:
    boxes = fields.pop("mailbox", [{"address": "keep@o.example", "aliases": ["kept@o.example"]}])
    own = {"accepted_domain": [{"name": "o.example"}], "mailbox": boxes, "outbound_connector": list(connectors)}
    return {"organization": {"o": {name: value for name, value in (own | fields).items() if value}}}


def errors(document: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        parse(document)
    except ResourceErrors as refused:
        return [(error.path.rpartition(".")[2], error.message) for error in refused.errors]
    return []


@pytest.mark.parametrize("key", ["journal_to", "journal_failures_to"])
@pytest.mark.parametrize(
    ("address", "connectors", "said"),
    [
        ("Keep@o.example", [], ""),
        ("kept@o.example", [], ""),
        (FAR, [], "no outbound connector takes mail for far.example"),
        (FAR, [connector(**SAFE)], ""),
        (FAR, [connector(**SAFE, mode="rehearse")], "'far' takes mail for far.example and does not force"),
        (FAR, [connector(**SAFE, enabled=False)], "no outbound connector"),
        (FAR, [connector()], "does not force verified TLS"),
        (FAR, [connector(tls_settings="encryption-only")], "does not force verified TLS"),
        (FAR, [connector(tls_settings="certificate-validation")], ""),
        (FAR, [connector(tls_settings="certificate-validation", smart_hosts=["192.0.2.1"])], "does not force"),
        (FAR, [connector(tls_settings="certificate-validation", smart_hosts=[], use_mx_record=True)], "does not force"),
        (FAR, [connector(smtp_dane_mode="mandatory")], ""),
        (FAR, [connector(**SAFE), connector(name="first", priority=1)], "'first' takes mail"),
        (FAR, [connector(**SAFE, priority=1), connector(name="other")], ""),
        (FAR, [connector(name="all", recipient_domains=["*"], **SAFE)], ""),
        (
            FAR,
            [
                connector(**SAFE),
                connector(name="c", connector_type="on-premises", route_all_messages_via_on_premises=True),
            ],
            "'c' takes mail",
        ),
        (
            "x@o.example",
            [
                connector(
                    name="own", connector_type="on-premises", all_accepted_domains=True, recipient_domains=[], **SAFE
                )
            ],
            "",
        ),
        ("x@o.example", [], "no outbound connector takes mail for o.example"),
    ],
)
def test_journal_mail_stays_here_or_leaves_over_verified_tls(
    key: str, address: str, connectors: list[dict[str, Any]], said: str
) -> None:
    own = {"journal_to": "other@o.example"} if key == "journal_failures_to" else {}
    boxes = [{"address": "keep@o.example", "aliases": ["kept@o.example"]}, {"address": "other@o.example"}]
    found = errors(organization(*connectors, mailbox=boxes, **own | {key: address}))
    assert [(path, said in message) for path, message in found] == ([(key, True)] if said else [])


@pytest.mark.parametrize(
    ("connectors", "said"),
    [([connector(**SAFE)], ""), ([], "two@o.example forwards to keep@far.example: no outbound connector")],
)
def test_what_the_journal_mailbox_forwards_is_judged_too(connectors: list[dict[str, Any]], said: str) -> None:
    boxes = [
        {"address": "one@o.example", "forwarding_smtp_address": "two@o.example"},
        {"address": "two@o.example", "forwarding_smtp_address": FAR},
    ]
    found = errors(organization(*connectors, mailbox=boxes, journal_to="one@o.example"))
    assert [said in message for _, message in found] == ([True] if said else [])


def test_a_chain_of_forwards_without_end_is_followed_for_a_while_only() -> None:
    boxes = [
        {"address": f"b{number}@o.example", "forwarding_smtp_address": f"b{number + 1}@o.example"}
        for number in range(12)
    ]
    found = errors(organization(mailbox=[*boxes, {"address": "b12@o.example"}], journal_to="b0@o.example"))
    assert [path for path, _ in found] == ["journal_to"]


def test_rules_are_judged_while_they_are_enabled() -> None:
    rules = [{"name": "r", "journal_to": FAR}, {"name": "off", "journal_to": FAR, "enabled": False}]
    (error,) = errors(organization(mail_flow_rule=rules))
    assert error[0] == "journal_to"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"journal_failures_to": "keep@o.example"}, "nothing is journaled"),
        ({"journal_to": "keep@o.example", "journal_failures_to": "KEEP@o.example"}, "is the address of the journal"),
        (
            {
                "journal_failures_to": "kept@o.example",
                "mail_flow_rule": [{"name": "r", "journal_to": "keep@o.example"}],
            },
            "",
        ),
        ({"journal_to": "keep@o.example", "journal_failures_to": "nobody"}, "is not a mail address"),
        ({"journal_to": "nobody"}, "is not a mail address"),
    ],
)
def test_the_second_mailbox_is_another_one_and_has_something_to_get(fields: dict[str, Any], said: str) -> None:
    assert [said in message for _, message in errors(organization(**fields))] == ([True] if said else [])


def test_the_way_is_not_judged_by_connectors_that_are_wrong_themselves() -> None:
    (error,) = errors(organization(connector(tls_settings="none"), journal_to=FAR))
    assert error[0] == "tls_settings"
