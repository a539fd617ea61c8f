"""`show`, `add`, `set` and `remove` of domains, mailboxes and mail flow rules."""

from __future__ import annotations

import tomllib

import pytest

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "postmaster@contoso.example" }]
outbound_connector = [{ name = "bank", recipient_domains = ["bank.example"] }]
mail_flow_rule = [{ name = "secrets", require_tls = true }]
[organization.fabrikam]
accepted_domain = [{ name = "*.fabrikam.example", type = "internal-relay" }]
outbound_connector = [{ name = "all", recipient_domains = ["*"] }]
"""


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(BASE))
    return home


def contoso(home):
    return home.config()[1]["organization"]["contoso"]


PATH = "organization.contoso"
# words -> the lines on standard output before the last one
DONE = {
    "domain add new.example --organization contoso": [
        f'+ {PATH}.accepted_domain[\'new.example\']: {{"name": "new.example"}}'
    ],
    "domain add *.New.example --organization contoso type=internal-relay": [
        f'+ {PATH}.accepted_domain[\'*.new.example\']: {{"name": "*.new.example", "type": "internal-relay"}}'
    ],
    "domain set contoso.example type=internal-relay": [
        f"+ {PATH}.accepted_domain['contoso.example'].type: \"internal-relay\""
    ],
    "domain remove *.fabrikam.example": [
        (
            "- organization.fabrikam.accepted_domain['*.fabrikam.example']:"
            ' {"name": "*.fabrikam.example", "type": "internal-relay"}'
        )
    ],
    "mailbox add Ann@Contoso.example": [
        f'+ {PATH}.mailbox[\'Ann@contoso.example\']: {{"address": "Ann@contoso.example"}}'
    ],
    "mailbox add liz@eu.fabrikam.example delivery=lmtp:127.0.0.1:24": [
        (
            "+ organization.fabrikam.mailbox['liz@eu.fabrikam.example']:"
            ' {"address": "liz@eu.fabrikam.example", "delivery": "lmtp:127.0.0.1:24"}'
        )
    ],
    "mailbox set POSTMASTER@contoso.example delivery=lmtp:127.0.0.1:24": [
        f"+ {PATH}.mailbox['postmaster@contoso.example'].delivery: \"lmtp:127.0.0.1:24\""
    ],
    "mailbox remove postmaster@contoso.example": [
        f'- {PATH}.mailbox[\'postmaster@contoso.example\']: {{"address": "postmaster@contoso.example"}}'
    ],
    "rule add via --organization contoso route_via_connector=bank": [
        f'+ {PATH}.mail_flow_rule[\'via\']: {{"name": "via", "route_via_connector": "bank"}}'
    ],
    "rule set secrets mode=rehearse require_tls=true": [f"+ {PATH}.mail_flow_rule['secrets'].mode: \"rehearse\""],
    "rule set Secrets name=hush": [f'~ {PATH}.mail_flow_rule[\'secrets\'].name: "secrets" -> "hush"'],
    "rule remove secrets": [f'- {PATH}.mail_flow_rule[\'secrets\']: {{"name": "secrets", "require_tls": true}}'],
}


@pytest.mark.parametrize("command", DONE)
def test_a_change_is_said_and_made(base, command):
    lines = DONE[command]
    dry = base.call(*command.split(), "--dry-run").stdout.splitlines()
    assert dry[: len(lines) + 1] == [*lines, ""]
    assert dry[-1] == "1 change, not applied (--dry-run)"
    assert base.config() == (1, tomllib.loads(BASE))
    done = base.call(*command.split(), "--note", "as wished").stdout.splitlines()
    assert done == [*lines, "1 change applied as version 2"]
    assert base.history()[0].note == "as wished"
    assert base.call("history", "show", "2").stdout.splitlines() == lines


def test_nothing_to_do_is_done(base):
    for words in (["rule", "set", "secrets", "require_tls=true"], ["domain", "set", "contoso.example", "type="]):
        assert base.call(*words).stdout == "nothing to change; version 1 is in force\n"


def test_a_default_that_is_written_is_kept_and_an_empty_value_takes_it_away(base):
    base.call("domain", "set", "contoso.example", "type=authoritative")
    assert contoso(base)["accepted_domain"] == [{"name": "contoso.example", "type": "authoritative"}]
    base.call("domain", "set", "contoso.example", "type=")
    assert contoso(base)["accepted_domain"] == [{"name": "contoso.example"}]


# words -> what stands on standard error
REFUSED = {
    "domain add contoso.example --organization fabrikam": "name: contoso.example is accepted already, by ",
    "domain add Contoso.Example --organization contoso": "contoso already has the accepted domain 'Contoso.Example'; "
    "change it with `gatepost domain set`; nothing was changed\n",
    "domain add new.example": "say whose it is; there are: contoso, fabrikam (--organization)\n",
    "domain add new.example --organization none": "there is no organization 'none'; there are: 'contoso', 'fabrikam'\n",
    "domain add new.example --organization contoso type=relay": "type: 'relay' is not possible here; choose ",
    "domain add new.example --organization contoso name=x.example": "name: is given twice; remove name=\n",
    "domain add *.new.example --organization contoso": "name: recipients in every subdomain cannot all be known here; ",
    "domain add not/one --organization contoso": "name: 'not/one' is not a domain",
    "domain set new.example type=": "there is no accepted domain 'new.example'; there are: 'contoso.example', ",
    "domain set contoso.example name=other.example": "organization.contoso.mailbox[0]",
    "domain set contoso.example name=": "name: is required: it has no default\n",
    "domain remove contoso.example": "accepted domain 'contoso.example' of contoso cannot be removed, it is needed "
    "by:\n"
    "  organization.contoso.mailbox[0] 'postmaster@contoso.example'.address\n"
    "Change or remove these first; nothing was changed\n",
    "mailbox add ann@other.example": "no organization accepts other.example; add it first: gatepost domain add",
    "mailbox add ann@contoso.example --organization fabrikam": "address: contoso.example is not an accepted domain",
    "mailbox add ann --organization contoso": "address: 'ann' is not a mail address",
    "mailbox add ann": "say whose it is; there are: ",
    "mailbox add POSTMASTER@contoso.example": "contoso already has the mailbox 'POSTMASTER@contoso.example'; ",
    "mailbox set postmaster@contoso.example deliver=maildir": "deliver: unknown key, it would have no effect; did you",
    "mailbox remove joe@contoso.example": "there is no mailbox 'joe@contoso.example'; there are:",
    "rule set secrets require_tls": "require_tls: must be KEY=VALUE; the keys are: name, ",
    "rule set secrets enabled=no priority=1.5 foo=x": "3 errors; nothing was changed\n",
    "rule set secrets": "Missing argument 'KEY=VALUE...'",
    "rule add": "Missing argument 'NAME'",
}


@pytest.mark.parametrize("command", REFUSED)
@pytest.mark.parametrize("more", [(), ("--dry-run", "--json")], ids=["", "dry"])
def test_what_is_wrong_is_said_and_nothing_is_changed(base, command, more):
    result = base.call(*command.split(), *more, code=2)
    assert REFUSED[command] in result.stderr
    assert result.stdout == ""
    assert base.config() == (1, tomllib.loads(BASE))


def test_the_only_organization_need_not_be_named(home):
    said = home.call("domain", "add", "contoso.example", code=2).stderr
    assert said == "there is no organization yet; make one first: gatepost organization add NAME\n"
    home.call("organization", "add", "contoso")
    home.call("domain", "add", "contoso.example")
    assert contoso(home) == {"accepted_domain": [{"name": "contoso.example"}]}


def test_for_machines(base):
    done = base.json("mailbox", "add", "ann@contoso.example")
    assert (done["version"], done["dry_run"]) == (2, False)
    assert done["changes"] == [
        {
            "sign": "+",
            "field": "organization.contoso.mailbox['ann@contoso.example']",
            "before": None,
            "after": {"address": "ann@contoso.example"},
        }
    ]


def test_show_finds_by_any_case_and_says_when_there_is_none(base):
    rows = base.table("domain", "show", "Contoso.Example")
    assert rows == [
        {"field": "name", "value": "contoso.example", "set": "written"},
        {"field": "type", "value": "authoritative", "set": "default"},
        {"field": "recipient_validation", "value": "none", "set": "default"},
        {"field": "recipients", "value": "", "set": "default"},
        {"field": "recipients_file", "value": "", "set": "default"},
        {"field": "recipient_directory", "value": "", "set": "default"},
        {"field": "recipient_graph", "value": "", "set": "default"},
        {"field": "recipient_validation_unavailable", "value": "defer", "set": "default"},
        {"field": "verified", "value": "true", "set": "default"},
        {"field": "mta_sts", "value": "not-published", "set": "default"},
        {"field": "mta_sts_mx", "value": "", "set": "default"},
        {"field": "mta_sts_max_age", "value": "7d", "set": "default"},
    ]
    assert "there is no mail flow rule 'x'" in base.call("rule", "show", "x", code=2).stderr
