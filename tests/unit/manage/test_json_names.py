"""Lists agree on their names: what REST sends and `--json` prints has one name for one thing, of one kind."""

from __future__ import annotations

import enum
from typing import Literal, TypeAliasType, Union, get_args, get_origin

import msgspec
import pytest

from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.use_cases.declaration import Items

# What others call it -> what it is called here.
SYNONYMS = {
    "timestamp": "at",
    "time": "at",
    "date": "at",
    "queue_id": "message",
    "msgid": "message_id",
    "org": "organization",
    "tenant": "organization",
    "mail_from": "sender",
    "rcpt": "recipient",
    "rcpt_to": "recipient",
    "ip": "address",
    "bytes_total": "bytes",
    "errors": "error",
}
# Names that mean two things. May only shrink.
TWO_THINGS = {
    "detail": "of an audit event and a trace row a table, of a sent report a text",
    "event": "of the audit its number, of the trace what happened",
    "held": "of a certificate why, of a delivery whether, of a destination how many",
    "id": "of a session of a user a number, elsewhere a text",
    "message": "of a delivery the whole envelope, elsewhere its queue id",
    "next": "of a sent report a time, of the quarantine an id",
    "organizations": "of an audit event how many, of a user or token which",
    "passed": "of a drill whether, of reports how many sessions",
    "recipients": "of a delivery which, of a limit how many",
    "validated": "of a connector its last validation, of a validation of many how many",
}


def kind_of(annotation):
    """A name for the JSON that a type is written as; null beside it says nothing."""
    while isinstance(annotation, TypeAliasType):
        annotation = annotation.__value__
    origin = get_origin(annotation)
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        kinds = {kind_of(each) for each in get_args(annotation) if each is not type(None)}
        return "/".join(sorted(kinds))
    if origin is Literal:
        return "str"
    if hasattr(annotation, "__metadata__"):
        return kind_of(get_args(annotation)[0])
    plain = origin or annotation
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return "str"
    return "number" if plain in {int, float} else getattr(plain, "__name__", str(plain))


def names_of_lists():
    """{name: {kind: use cases}} of the items of all lists."""
    found = {}
    for case in USE_CASES:
        if get_origin(case.result) is not Items or not case.path:  # those of pages alone are in no JSON
            continue
        (item,) = get_args(case.result)
        if not (isinstance(item, type) and issubclass(item, msgspec.Struct)):
            continue
        for field in msgspec.structs.fields(item):
            found.setdefault(field.encode_name, {}).setdefault(kind_of(field.type), set()).add(case.name)
    return found


NAMES = names_of_lists()


def test_there_are_lists():
    assert len(NAMES) > 100


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_is_not_a_synonym(name):
    assert name not in SYNONYMS, f"it is called {SYNONYMS.get(name)!r} elsewhere"


def test_a_name_is_of_one_kind_in_all_lists():
    several = {name: kinds for name, kinds in NAMES.items() if len(kinds) > 1}
    assert {name: kinds for name, kinds in several.items() if name not in TWO_THINGS} == {}
    assert sorted(TWO_THINGS) == sorted(several), "take it off the list"
