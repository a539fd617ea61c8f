from __future__ import annotations

from gatepost.policy.connectors.maildirs import maildir_errors, node_local_text, stored_maildirs
from gatepost.policy.connectors.model import parse

DOCUMENT = {
    "organization": {
        "contoso": {
            "accepted_domain": [{"name": "contoso.example"}],
            "mailbox": [
                {"address": "ann@contoso.example"},
                {"address": "joe@contoso.example", "delivery": "lmtp:127.0.0.1:24"},
                {"address": "eve@contoso.example", "delivery": "maildir"},
            ],
        }
    }
}
LOCAL = ["ann@contoso.example", "eve@contoso.example"]


def test_each_mailbox_with_a_maildir_is_an_error():
    errors = maildir_errors(parse(DOCUMENT).organizations)
    assert [error.path for error in errors] == [
        f"organization.contoso.mailbox {address!r}.delivery" for address in LOCAL
    ]
    assert 'write delivery = "lmtp:HOST:PORT"' in errors[0].message
    assert "store.shared_mailboxes" in errors[0].message


def test_stored_documents_are_looked_through_as_they_are():
    assert stored_maildirs(DOCUMENT["organization"]) == LOCAL
    assert stored_maildirs({"contoso": {}}) == []


def test_the_text_says_who_why_and_what_to_do():
    assert node_local_text([]) == ""
    assert node_local_text(LOCAL).startswith("mail for ann@contoso.example and 1 more goes to a Maildir of the node")
    assert node_local_text(LOCAL[:1]).startswith("mail for ann@contoso.example goes")
    assert "shared_mailboxes = true" in node_local_text(LOCAL)
