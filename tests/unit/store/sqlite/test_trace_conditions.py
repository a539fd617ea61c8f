"""Conditions as SQL, asked of real rows: without an index and by the most telling one they find the same."""

from __future__ import annotations

import contextlib

import apsw
import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import TraceFilter
from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import write_events
from gatepost.store.sqlite.trace_conditions import FOLDED, Conditions
from gatepost.store.sqlite.trace_files import trace_files
from gatepost.store.text_pattern import TextPattern, fold
from gatepost.store.trace import Among

VERIFIED = {"achieved": "none/authenticated", "requirement": "authenticated(b)"}
NOON = 1_764_000_000.0
DANE = {"requirement_sources": ["dane:b"]}
STS = {"requirement_sources": ["mta-sts:b"]}


def row(number, event="SEND", **fields):
    usual = {"organization": "contoso", "direction": "", "session": "s", "sender": "x@a.example"}
    usual |= {"recipient": "y@b.example", "message": f"{number:016x}"}
    return TraceEvent(NOON + number, event, **(usual | fields))


ROWS = (
    row(0, "RECEIVE", sender="ann@A.example", message_id="<1@a.example>", achieved="none", peer_host="[192.0.2.1]"),
    row(1, recipient="ann@a.example", connector="Out", achieved="dnssec/authenticated", peer_address="192.0.2.1:25"),
    row(2, achieved="none/encrypted", tls_version="TLSv1.3", tls_group="x25519", peer_host="mx.b.example"),
    row(3, "DEFER", organization="fabrikam", result_type="starttls-not-supported", session="t", sender=""),
    row(4, **VERIFIED, detail=DANE, peer_address="[2001:db8::1]:25"),
    row(5, **VERIFIED, detail=STS),
    row(6, **VERIFIED, connector="in", detail={"connector_organization": "f"}),
    row(7, "SEND", session="u", detail={"handover": {"message": "00000000000000ff", "session": "v"}}),
    row(8, "DEFER", connector="Bank", detail={"would_refuse_connector": "out"}),
)  # fmt: skip


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trace")
    write_events(directory, "0", ROWS)
    (file,) = trace_files(directory)
    with contextlib.closing(open_for_reading(directory / file.name)) as connection:
        connection.create_scalar_function(FOLDED, fold)
        yield connection


def found(connection: apsw.Connection, conditions: Conditions) -> str:
    """The rows, as digits; found both ways, and by the alternatives each once."""

    def ask(where):
        term, values = where
        statement = f"SELECT at FROM trace WHERE {term} ORDER BY at"  # noqa: S608 - what is tested
        return [str(int(at - NOON)) for (at,) in connection.execute(statement, values)]

    plain = ask(conditions.unindexed)
    assert sorted(one for where in conditions.indexed for one in ask(where)) == plain
    return "".join(plain)


FILTERS = [
    ({}, "012345678"),
    ({"since": NOON + 7}, "78"),
    ({"until": NOON + 1}, "01"),
    ({"message": "0000000000000003"}, "3"),
    ({"session": "T"}, "3"),
    ({"message_id": "<1@A.example>"}, "0"),
    ({"sender": "ANN@a.example"}, "0"),
    ({"sender": "@A.EXAMPLE"}, "01245678"),
    ({"sender": "@example"}, ""),
    ({"recipient": "@a.example"}, "1"),
    ({"address": "ann@a.example"}, "01"),
    ({"domain": "a.example"}, "01245678"),
    ({"domain": "b.example"}, "02345678"),
    ({"peer": "mx.B.example"}, "2"),
    ({"peer": "192.0.2.1"}, "1"),
    ({"peer": "192.0.2.1:25"}, "1"),
    ({"peer": "192.0.2.1:26"}, ""),
    ({"peer": "2001:db8::1"}, "4"),
    ({"peer": "[2001:db8::1]:25"}, "4"),
    ({"peer": "[192.0.2.1]"}, "0"),
    ({"connector": "OUT"}, "1"),
    ({"result_type": "starttls-not-supported"}, "3"),
    ({"tls_group": "X25519"}, "2"),
    ({"tls_version": "tlsv1.3"}, "2"),
    ({"achieved": "authenticated"}, "1456"),
    ({"achieved": "dnssec/authenticated"}, "1"),
    ({"organization": "Fabrikam"}, "3"),
    ({"organizations": frozenset({"fabrikam"})}, "3"),
    ({"organizations": frozenset()}, ""),
    ({"organizations": frozenset({"contoso"}), "connector": "in"}, ""),  # its connector is not shown
    ({"organizations": frozenset({"contoso"}), "connector": "out"}, "1"),
    ({"organizations": frozenset({"contoso"}), "peer": "mx.b.example"}, "2"),
    ({"protection": "dane"}, "4"),
    ({"protection": "mta-sts"}, "5"),
    ({"protection": "verified"}, "6"),
    ({"protection": "encrypted"}, "12"),
    ({"protection": "cleartext"}, "07"),
    ({"protection": "unheard of"}, ""),
    ({"event": "defer"}, "38"),
    ({"event": "defer", "domain": "b.example", "address": "y@b.example"}, "38"),
    ({"patterns": (TextPattern(("sender", "recipient"), "NN@a"),)}, "01"),
    ({"patterns": (TextPattern(("recipient",), "ann*"), TextPattern(("sender",), "*"))}, "1"),
    ({"patterns": (TextPattern(("sender",), "Ö"),)}, ""),
]


@pytest.mark.parametrize(("wanted", "rows"), FILTERS)
def test_each_condition(trace, wanted, rows):
    assert found(trace, Conditions(TraceFilter(**wanted))) == rows


def test_events_are_any_of_several(trace):
    assert found(trace, Conditions(TraceFilter(), ["RECEIVE", "DEFER"])) == "038"


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [({"message": "00000000000000ff"}, "7"), ({"session": "v"}, "7"), ({"message": "0" * 16}, ""), ({}, "012345678")],
)
def test_ids_of_another_node(trace, wanted, rows):
    assert found(trace, Conditions(TraceFilter(**wanted), elsewhere=True)) == rows


@pytest.mark.parametrize(
    ("among", "rows"),
    [
        (Among(), "012345678"),
        (Among(connector="OUT"), "1"),
        (Among(connector="out", tried=True), "18"),
        (Among(recipients=("a.example",)), "1"),
        (Among(recipients=("a.example", "b.example")), "012345678"),
        (Among(connector="out", tried=True, recipients=("b.example",)), "8"),
        (Among(holding="mta-sts"), "5"),
    ],
)
def test_few_of_many(trace, among, rows):
    assert found(trace, Conditions(TraceFilter(), among=among)) == rows
