from __future__ import annotations

import json
from html.parser import HTMLParser

from support.table_scene import certificate, chain

from gatepost.pki.certificates.forms import PAGE, forms

MADE = certificate()


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        link = dict(attrs).get("href", "")
        if link and not link.startswith("#"):
            self.found.append(link)


def test_every_link_of_the_page_is_a_file(entry, table):
    files = {one.name: one for one in forms(table((entry(MADE), chain(MADE))))}
    parser = Links()
    parser.feed(files[PAGE].body.decode())
    assert len(parser.found) > 5
    assert set(parser.found) <= set(files)
    assert list(files)[-1] == PAGE  # what it links to is there before it
    assert set(json.loads(files["certificates.json"].body)["bundles"]) <= set(files)
    assert {one.name.partition("-")[0] for one in files.values() if one.lasting} == {"certificates"}
    for one in files.values():
        if one.lasting:
            assert files[f"{one.name.rpartition('-')[0]}.p7b"].body == one.body


def test_without_authorities_there_are_no_bundles(table):
    assert [one.name for one in forms(table())] == ["certificates.json", "certificates.atom", PAGE]


def test_the_feed_links_to_where_it_is_served(table):
    atom = {one.name: one.body for one in forms(table(), "https://x.example/tls/", "certificates")}["certificates.atom"]
    assert b'href="https://x.example/tls/certificates.atom"' in atom
    assert b'href="https://x.example/tls/certificates"' in atom
