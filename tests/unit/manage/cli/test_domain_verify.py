from __future__ import annotations

BASE = """
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.accepted_domain]]
name = "*.new.example"
type = "internal-relay"
verified = false
"""


def test_the_record_of_a_domain_is_printed_and_says_whether_it_is_needed(home):
    home.call("apply", "-f", home.write(BASE))
    shown = home.call("domain", "verify", "*.NEW.example", "--record")
    assert shown.stdout.startswith('_gatepost.new.example. IN TXT "gatepost-verification=')
    assert "*.new.example is pending" in shown.stderr
    told = home.call("domain", "show", "*.new.example").stderr
    assert shown.stdout.strip() in told
    assert "gatepost domain verify *.new.example" in told
    assert home.call("domain", "show", "contoso.example").stderr == ""
    record = home.json("domain", "verify", "*.new.example", "--record")
    assert (record["organization"], record["verified"], record["zone"]) == ("contoso", False, shown.stdout.strip())
    assert home.call("domain", "verify", "contoso.example", "--record").stderr == ""
    assert home.call("domain", "verify", "contoso.example").stderr.endswith("contoso.example is verified\n")
    assert "there is no accepted domain 'x'" in home.call("domain", "verify", "x", code=2).stderr
