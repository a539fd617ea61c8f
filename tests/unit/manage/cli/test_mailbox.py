from __future__ import annotations

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }, { name = "eu.contoso.example" }]
mailbox = [{ address = "Ann@contoso.example" }, { address = "joe@eu.contoso.example", delivery = "lmtp:127.0.0.1:24" }]
[organization.fabrikam]
accepted_domain = [{ name = "fabrikam.example" }]
mailbox = [{ address = "liz@fabrikam.example" }]
"""


def test_the_list(home):
    home.call("apply", "-f", home.write(BASE))
    assert [tuple(row.values()) for row in home.table("mailbox", "list")] == [
        ("Ann@contoso.example", "maildir", "", "", "contoso"),
        ("joe@eu.contoso.example", "lmtp:127.0.0.1:24", "", "", "contoso"),
        ("liz@fabrikam.example", "maildir", "", "", "fabrikam"),
    ]
    liz = [
        {
            "address": "liz@fabrikam.example",
            "delivery": "maildir",
            "aliases": [],
            "forwarding_smtp_address": "",
            "organization": "fabrikam",
        }
    ]
    assert home.json("mailbox", "list", "--organization", "fabrikam") == liz
    assert home.json("mailbox", "list", "--domain", "Fabrikam.example") == liz
    assert home.json("mailbox", "list", "--domain", "fabrikam") == []
    assert "no organization 'x'" in home.call("mailbox", "list", "--organization", "x", code=2).stderr


def test_aliases_and_where_mail_is_forwarded_to(home):
    home.call("apply", "-f", home.write(BASE))
    home.call(
        *("mailbox", "set", "ann@contoso.example", "aliases+=i@contoso.example", "aliases+=j@contoso.example"),
        "forwarding_smtp_address=x@b.example",
    )
    row = home.table("mailbox", "list")[0]
    assert (row["aliases"], row["forwarding_smtp_address"]) == ("i@contoso.example j@contoso.example", "x@b.example")
    assert home.json("mailbox", "list")[0]["aliases"] == ["i@contoso.example", "j@contoso.example"]


def test_an_address_can_change(home):
    home.call("apply", "-f", home.write(BASE))
    home.call("mailbox", "set", "ann@contoso.example", "address=Ann@eu.contoso.example")
    assert [row["address"] for row in home.table("mailbox", "list", "--domain", "eu.contoso.example")] == [
        "Ann@eu.contoso.example",
        "joe@eu.contoso.example",
    ]
