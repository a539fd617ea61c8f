from __future__ import annotations

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
outbound_connector = [{ name = "bank", recipient_domains = ["bank.example"] }]
[[organization.contoso.mail_flow_rule]]
name = "late"
priority = 200
enabled = false
require_tls = true
[[organization.contoso.mail_flow_rule]]
name = "secrets"
senders = ["contoso.example"]
except_senders = ["ann@contoso.example"]
recipients = ["*.bank.example", "bank.example"]
except_recipients = ["x@bank.example"]
header_name = "Subject"
header_contains = ["secret", "vertraulich"]
route_via_connector = "bank"
require_tls = true
stop_rule_processing = true
[[organization.contoso.mail_flow_rule]]
name = "marked"
mode = "rehearse"
header_name = "X-Confidential"
require_tls = true
[organization.fabrikam]
"""
CONDITIONS = (
    "from contoso.example; not from ann@contoso.example; to *.bank.example, bank.example; not to x@bank.example; "
    "header Subject has 'secret' or 'vertraulich'"
)


def test_the_list_says_when_and_what(home):
    home.call("apply", "-f", home.write(BASE))
    assert [tuple(row.values()) for row in home.table("rule", "list")] == [
        ("rehearsal", "100", "marked", "contoso", "header X-Confidential has any value", "only over TLS"),
        (
            "enabled",
            "100",
            "secrets",
            "contoso",
            CONDITIONS,
            "by connector 'bank'; only over TLS; no further rule",
        ),
        ("disabled", "200", "late", "contoso", "every message", "only over TLS"),
    ]
    assert home.json("rule", "list")[0]["priority"] == 100
    assert home.json("rule", "list", "--organization", "fabrikam") == []
    assert "no organization 'x'" in home.call("rule", "list", "--organization", "x", code=2).stderr
