"""That a link from one page to another says what the other one reads: else its search or form opens empty."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

LINK = re.compile(r"link\((['\"])(/[\w/-]*)\1((?:[^()]|\([^()]*\))*)\)")
# What these say is chosen from a list, or leads to one message; it stands in no field of text.
CHOSEN = {
    "organization",
    "state",
    "direction",
    "purpose",
    "event",
    "since",
    "next",
    "again",
    "way",
    "message",
    "achieved",
    "protection",
}


def links():
    folder = Path(str(files("gatepost.manage.pages") / "templates"))
    found = set()
    for file in folder.rglob("*.html"):
        for _, path, query in LINK.findall(file.read_text()):
            names = set(re.findall(r"(\w+)=", query)) - CHOSEN
            found |= {(path, name, str(file.relative_to(folder))) for name in names}
    return sorted(found)


def test_there_are_links():
    assert len(links()) > 6
    assert {"/queue", "/trace", "/check", "/audit"} <= {path for path, _, _ in links()}


@pytest.mark.parametrize(("path", "name", "template"), links())
def test_a_link_says_what_its_page_reads(centre, path, name, template):
    answer = centre.get(f"{path}?{name}=probe.example")
    assert answer.status in {200, 422}, template  # a question that is not whole is asked for the rest
    assert 'value="probe.example"' in answer.text, f"{template}: {path} reads no {name}"
