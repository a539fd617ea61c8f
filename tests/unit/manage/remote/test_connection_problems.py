from __future__ import annotations

import json

import pytest

from gatepost.manage.remote.connection import VersionConflict, refusal_of
from gatepost.manage.use_cases.refusal import RefusalKind

URL = "https://gate.example:443"
HEADERS = {"content-type": "application/problem+json; charset=utf-8"}


def told(status, **document):
    return refusal_of(URL, status, HEADERS, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RefusalKind.INPUT),
        (401, RefusalKind.FORBIDDEN),
        (403, RefusalKind.FORBIDDEN),
        (404, RefusalKind.MISSING),
        (409, RefusalKind.CONFLICT),
        (412, RefusalKind.CONFLICT),
        (422, RefusalKind.INPUT),
        (500, RefusalKind.UNREADABLE),
        (503, RefusalKind.UNREADABLE),
    ],
)
def test_kinds(status, kind):
    refusal = told(status, detail="Why.", errors=[{"path": "a", "message": "b"}, "c"])
    assert refusal.kind is kind
    assert refusal.text.endswith("Why.")
    assert [(one.path, one.message) for one in refusal.errors] == [("a", "b")]
    assert isinstance(refusal, VersionConflict) is (status == 412)


@pytest.mark.parametrize("kind", RefusalKind)
@pytest.mark.parametrize("status", [404, 409, 422, 429, 503])
def test_the_refusal_that_it_was_is_kept_whatever_the_status(status, kind):
    assert told(status, detail="Why.", refusal=str(kind)).kind is kind


@pytest.mark.parametrize("given", [None, "", "strange", 7, ["conflict"]])
def test_a_refusal_that_is_none_is_told_by_its_status(given):
    assert told(404, detail="Why.", refusal=given).kind is RefusalKind.MISSING


def test_the_gateways_own_sentence_stands_as_it_is():
    assert told(404, detail="there is no mailbox 'x'").text == "there is no mailbox 'x'"
    assert told(403, title="Forbidden").text == f"{URL}: Forbidden"
    assert told(418).text == f"{URL}: it answers 418"


def test_nothing_of_it_plays_with_the_terminal():
    refusal = told(422, detail="a\x1b[2J\nb", errors=[{"path": "x\x07", "message": "\x9bm"}])
    assert refusal.text == "a?[2J\nb"
    assert (refusal.errors[0].path, refusal.errors[0].message) == ("x?", "?m")


def test_when_to_come_back():
    assert "again in 7 seconds" in refusal_of(URL, 429, HEADERS | {"retry-after": "7"}, b"{}").text
    assert "again" not in refusal_of(URL, 429, HEADERS | {"retry-after": "soon"}, b"{}").text


@pytest.mark.parametrize(
    ("status", "headers", "content", "text"),
    [
        (302, HEADERS | {"location": "https://thief.example"}, b"", "sends us elsewhere"),
        (404, {"content-type": "text/html"}, b"<html>", "answers 404 and does not say why"),
        (404, HEADERS, b"{", "does not say why"),
        (404, HEADERS, b"[]", "does not say why"),
    ],
)
def test_what_is_no_gateway(status, headers, content, text):
    refusal = refusal_of(URL, status, headers, content)
    assert refusal.kind is RefusalKind.UNREADABLE
    assert text in refusal.text
    assert "thief" not in refusal.text


def test_members_of_its_own():
    assert told(409, detail="x", gates={"light": "red"}).more == {"gates": {"light": "red"}}
