from __future__ import annotations


def test_the_list_is_a_page_with_files_beside_it(centre):
    page = centre.get("/domains/publish")
    assert page.headers["content-type"].startswith("text/html")
    assert "contoso.example" in page.words
    assert 'href="/domains/publish?format=csv"' in page.text
    lines = centre.get("/domains/publish?format=csv").text.splitlines()
    assert lines[0] == "organization,domain,section,line,note"
    assert "contoso,contoso.example,mx,contoso.example. IN MX 10 mx.gate.example.," in lines
    assert {one["domain"] for one in centre.get("/domains/publish?format=json").json} == {
        "contoso.example",
        "fabrikam.example",
    }


def test_one_domain_is_a_page_with_files_beside_it(centre):
    page = centre.get("/domains/contoso.example/publish")
    assert "contoso.example. IN MX 10 mx.gate.example." in page.words
    assert "/dkim?q=contoso.example" in page.text
    lines = centre.get("/domains/contoso.example/publish?format=csv").text.splitlines()
    assert all(line.startswith("contoso,contoso.example,") for line in lines[1:])
    assert centre.get("/domains/contoso.example/publish?format=xml").status == 422


def test_a_tenant_sees_its_own_alone(centre):
    lines = centre.get("/domains/publish?format=csv", "tenant").text.splitlines()
    assert all(line.startswith("fabrikam,fabrikam.example,") for line in lines[1:])
    assert len(lines) > 1
