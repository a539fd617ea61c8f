from __future__ import annotations

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }, { name = "*.contoso.example", type = "internal-relay" }]
mailbox = [{ address = "Ann@contoso.example" }, { address = "j@contoso.example" }, { address = "x@eu.contoso.example" }]
[organization.fabrikam]
accepted_domain = [{ name = "fabrikam.example" }]
"""


def test_the_list(home):
    home.call("apply", "-f", home.write(BASE))
    rows = home.table("domain", "list")
    assert [tuple(row.values()) for row in rows] == [
        ("contoso.example", "authoritative", "contoso", "2", "verified"),
        ("*.contoso.example", "internal-relay", "contoso", "0", "verified"),
        ("fabrikam.example", "authoritative", "fabrikam", "0", "verified"),
    ]
    assert home.json("domain", "list", "--organization", "fabrikam") == [
        {
            "name": "fabrikam.example",
            "type": "authoritative",
            "organization": "fabrikam",
            "mailboxes": 0,
            "status": "verified",
        }
    ]


def test_of_an_organization_that_is_not_there_nothing_is_listed(home):
    assert home.json("domain", "list") == []
    said = home.call("domain", "list", "--organization", "x", code=2).stderr
    assert said == "there is no organization 'x'; there are: none\n"
