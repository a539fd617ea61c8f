from __future__ import annotations

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
[organization.fabrikam]
[[organization.fabrikam.oauth_issuer]]
name = "keycloak"
enabled = false
issuer = "https://sso.fabrikam.example/realms/staff"
audiences = ["gatepost", "smtp"]
"""
ENTRA = "https://login.microsoftonline.com/1234/v2.0"
ADD = ("issuer", "add", "entra", "--organization", "contoso", f"issuer={ENTRA}", "audiences=5678")


def test_from_the_command_to_the_list(home):
    home.call("apply", "-f", home.write(BASE))
    warned = home.call(*ADD)
    assert "guest" in warned.stderr
    home.call("issuer", "set", "entra", "username_claim=upn", "required_scopes=SMTP.Send,openid")
    assert [tuple(row.values()) for row in home.table("issuer", "list")] == [
        ("enabled", "entra", "contoso", ENTRA, "5678", "upn", "SMTP.Send openid"),
        (
            "disabled",
            "keycloak",
            "fabrikam",
            "https://sso.fabrikam.example/realms/staff",
            "gatepost smtp",
            "email",
            "",
        ),
    ]
    assert home.json("issuer", "list", "--organization", "fabrikam")[0]["audiences"] == ["gatepost", "smtp"]
    assert "no organization 'x'" in home.call("issuer", "list", "--organization", "x", code=2).stderr
    home.call("issuer", "remove", "Entra")
    assert [row["name"] for row in home.json("issuer", "list")] == ["keycloak"]


def test_every_error_by_field(home):
    home.call("apply", "-f", home.write(BASE))
    words = ("issuer=http://x.example", "algorithms=HS256")
    said = home.call("issuer", "add", "bad", "--organization", "contoso", *words, code=2).stderr
    assert "is not an https address" in said
    assert "'HS256' is not possible here" in said
    assert "audiences: is required" in said
