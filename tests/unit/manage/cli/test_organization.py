from __future__ import annotations

import pytest

from gatepost.store.sqlite.schema import QUEUE_FILE

BASE = """
[organization.contoso]
display_name = "Contoso"
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "postmaster@contoso.example" }, { address = "ann@contoso.example" }]
outbound_connector = [{ name = "bank", recipient_domains = ["bank.example"] }]
[organization.fabrikam]
"""


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(BASE))
    return home


def test_the_list_counts_what_each_has(base):
    contoso, fabrikam = base.table("organization", "list")
    assert contoso == {
        "name": "contoso",
        "display_name": "Contoso",
        "domains": "1",
        "mailboxes": "2",
        "inbound_connectors": "0",
        "outbound_connectors": "1",
        "rules": "0",
        "hooks": "0",
    }
    assert fabrikam["name"] == "fabrikam"
    assert base.json("organization", "list")[0] == {
        **{key: int(value) if value.isdigit() else value for key, value in contoso.items()}
    }


def test_without_any_the_list_is_empty(home):
    assert home.table("organization", "list") == []
    assert home.json("organization", "list") == []


def test_an_organization_is_made_changed_and_removed(home):
    assert home.call("organization", "add", "contoso").stdout.splitlines() == [
        '+ organization.contoso: ""',
        "1 change applied as version 1",
    ]
    assert home.call("organization", "set", "contoso", "display_name=Contoso Ltd", "message_expiration=2h").stdout == (
        '+ organization.contoso.display_name: "Contoso Ltd"\n'
        '+ organization.contoso.message_expiration: "2h"\n'
        "2 changes applied as version 2\n"
    )
    home.call("organization", "set", "contoso", "message_expiration=")
    assert home.config()[1] == {"organization": {"contoso": {"display_name": "Contoso Ltd"}}}
    assert home.call("organization", "remove", "contoso").stdout.splitlines() == [
        '- organization.contoso: "Contoso Ltd"',
        '- organization.contoso.display_name: "Contoso Ltd"',
        "2 changes applied as version 4",
    ]
    assert home.config() == (4, {})


def test_fields_of_its_own_may_come_with_it(home):
    home.call("organization", "add", "contoso", "reject_direct_send=true", "cleartext=never")
    assert home.config()[1] == {"organization": {"contoso": {"reject_direct_send": True, "cleartext": "never"}}}


REFUSED = {
    "add contoso": "an organization 'contoso' already exists; change it with `gatepost organization set`\n",
    "add Northwind": "name: 'Northwind' has the wrong form",
    "add northwind reject=true": "reject: unknown key, it would have no effect; ",
    "add northwind name=other": "name: cannot be changed, because files and queued mail use it; ",
    "set northwind display_name=x": "there is no organization 'northwind'; there are: 'contoso', 'fabrikam'\n",
    "set contoso name=x message_expiration=soon": "2 errors; nothing was changed\n",
    "set contoso accepted_domain+=x.example": "accepted_domain: is a list of resources, which have commands of their",
    "remove northwind": "there is no organization 'northwind'; there are: 'contoso', 'fabrikam'\n",
    "show northwind": "there is no organization 'northwind'; there are: 'contoso', 'fabrikam'\n",
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_wrong_is_said_and_nothing_is_changed(base, command):
    result = base.call("organization", *command.split(), code=2)
    assert REFUSED[command] in result.stderr
    assert result.stdout == ""
    assert base.config()[0] == 1


def test_removal_warns_of_mail_in_the_queue(home):
    home.fill()
    home.call("organization", "add", "contoso")
    home.call("organization", "add", "northwind")
    assert home.call("organization", "remove", "northwind").stderr == ""
    assert home.call("organization", "remove", "contoso", "--dry-run").stderr == (
        "warning: queued of contoso: 3 deliveries; without it they wait and go back to their senders when they "
        "expire, unless another organization accepts the recipients\n"
    )


def test_removal_says_when_the_queue_cannot_be_read(home):
    home.call("organization", "add", "contoso")
    shard = home.data / "queue" / "0"
    shard.mkdir(parents=True)
    (shard / QUEUE_FILE).write_bytes(b"no database, but long enough to be read as one " * 100)
    result = home.call("organization", "remove", "contoso")
    assert result.stderr.startswith("warning: whether contoso has mail in the queue is not known: ")
    assert home.config() == (2, {})
