from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Document, Endpoint, Reach, takes_merge_patch
from gatepost.policy.connectors.records import Mailbox


def endpoint(method="GET", path="/things/{name:path}", **other):
    given = {"answer": int, "scope": Scope.READ, "reach": Reach.SEEN, "tag": "things", "summary": "Things"}
    return Endpoint(method, path, handler=lambda asked: asked, **(given | other))


def test_what_follows_from_the_path():
    one = endpoint(path="/organizations/{organization}/mailboxes/{name:path}", method="PUT")
    assert one.path_names == ["organization", "name"]
    assert one.template == "/organizations/{organization}/mailboxes/{name}"
    assert one.name == "put_organizations_organization_mailboxes_name"


@pytest.mark.parametrize("other", [{"reach": Reach.ORGANIZATION}, {"guarded": True}])
def test_what_cannot_be_meant(other):
    with pytest.raises(ValueError, match="GET /things"):
        endpoint(**other)


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("PATCH", Document(Mailbox, whole=False), True),
        ("PATCH", Document(Mailbox, named=True), False),
        ("PUT", Document(Mailbox), False),
        ("PATCH", None, False),
    ],
)
def test_which_bodies_are_merge_patches(method, body, expected):
    assert takes_merge_patch(endpoint(method, body=body)) is expected
