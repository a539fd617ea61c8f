from __future__ import annotations

import pytest


def test_the_list_counts_what_each_has(centre):
    rows = {row["name"]: row for row in centre.get("/organizations?format=json").json}
    assert (rows["contoso"]["outbound_connectors"], rows["fabrikam"]["mailboxes"]) == (2, 0)
    assert ">fabrikam</a>" in centre.get("/organizations?q=fab").text
    assert ">contoso</a>" not in centre.get("/organizations", "tenant").text


def test_one_is_made_changed_and_removed(centre):
    answer = centre.post("/organizations/new", do="save", name="lab", display_name="The lab")
    assert (answer.status, answer.headers["location"]) == (303, "/organizations/view/lab")
    form = centre.get("/organizations/edit/lab")
    fields = {"was": form.value("was"), "display_name": "Lab", "reject_direct_send": "true", "do": "save"}
    assert centre.post("/organizations/edit/lab", **fields).status == 303
    page = centre.get("/organizations/view/lab")
    assert "Lab" in page.words
    assert "reject_direct_send=true" in page.words
    assert centre.post("/organizations/view/lab", do="remove", again="Lab").status == 422
    assert centre.post("/organizations/view/lab", do="remove", again="lab").status == 303
    assert centre.get("/organizations/view/lab").status == 404


def test_a_change_keeps_its_parts(centre):
    form = centre.get("/organizations/edit/contoso")
    assert "mailbox" not in form.value("was")
    centre.post("/organizations/edit/contoso", was=form.value("was"), message_expiration="2d", do="save")
    assert centre.stored("mailbox", "ann@contoso.example")
    assert centre.gateway.directory().resources.organization("contoso").message_expiration == 172800


@pytest.mark.parametrize(("name", "status"), [("Not Right", 422), ("contoso", 422), ("", 422)])
def test_a_name_that_cannot_be_is_refused(centre, name, status):
    assert centre.post("/organizations/new", do="save", name=name).status == status


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [
        ("tenant", "/organizations/new", 404),
        ("reader", "/organizations/new", 403),
        ("tenant", "/organizations/view/contoso", 404),
        ("tenant", "/organizations/edit/contoso", 404),
        ("reader", "/organizations/edit/contoso", 403),
        ("tenant", "/organizations/edit/fabrikam", 200),
        ("owner", "/organizations/view/none", 404),
    ],
)
def test_who_may_what(centre, who, path, status):
    assert centre.get(path, who).status == status


def test_a_tenant_does_not_remove_itself(centre):
    assert centre.post("/organizations/view/fabrikam", "tenant", do="remove", again="fabrikam").status == 404
    assert centre.post("/organizations/view/contoso", do="explode").status == 404
