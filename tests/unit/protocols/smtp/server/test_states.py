from __future__ import annotations

import pytest

from gatepost.protocols.smtp.commands import Verb
from gatepost.protocols.smtp.server.states import TABLE, State, out_of_order

ANYWHERE = {Verb.EHLO, Verb.HELO, Verb.RSET, Verb.NOOP, Verb.VRFY, Verb.HELP, Verb.QUIT}


BEFORE_MAIL = {
    Verb.MAIL: State.MAIL,
    Verb.STARTTLS: State.TLS,
    Verb.AUTH: State.GREETED,
    Verb.XCLIENT: State.CONNECTED,
}


@pytest.mark.parametrize(
    ("state", "more"),
    [
        (State.CONNECTED, {Verb.XCLIENT: State.CONNECTED}),
        (State.GREETED, BEFORE_MAIL),
        (State.REFUSED, BEFORE_MAIL),
        (State.MAIL, {Verb.RCPT: State.RCPT}),
        (State.RCPT, {Verb.RCPT: State.RCPT, Verb.DATA: State.DATA, Verb.BDAT: State.BDAT}),
        (State.BDAT, {Verb.BDAT: State.BDAT}),
    ],
)
def test_where_commands_come(state, more):
    legal = TABLE[state]
    assert {verb: after for verb, after in legal.items() if verb not in ANYWHERE} == more
    assert set(legal) >= ANYWHERE
    assert {legal[Verb.NOOP], legal[Verb.VRFY], legal[Verb.HELP]} == {state}
    assert legal[Verb.RSET] is (State.CONNECTED if state is State.CONNECTED else State.GREETED)
    assert {legal[Verb.EHLO], legal[Verb.HELO]} == {State.GREETED}
    assert legal[Verb.QUIT] is State.CLOSED


def test_where_no_commands_come():
    silent = [State.OPENING, State.DATA, State.TLS, State.CLOSED, State.AUTH]
    assert [state for state in State if not TABLE[state]] == silent


@pytest.mark.parametrize(
    ("state", "verb", "text"),
    [
        (State.CONNECTED, Verb.MAIL, "503 5.5.1 Send EHLO first"),
        (State.GREETED, Verb.RCPT, "503 5.5.1 Send MAIL first"),
        (State.GREETED, Verb.DATA, "503 5.5.1 Send MAIL first"),
        (State.MAIL, Verb.MAIL, "503 5.5.1 A transaction is open; end it or send RSET"),
        (State.MAIL, Verb.DATA, "554 5.5.1 No valid recipients"),
        (State.MAIL, Verb.BDAT, "554 5.5.1 No valid recipients"),
        (State.RCPT, Verb.AUTH, "503 5.5.1 A transaction is open; end it or send RSET"),
        (State.RCPT, Verb.STARTTLS, "503 5.5.1 A transaction is open; end it or send RSET"),
        (State.BDAT, Verb.DATA, "503 5.5.1 The message is being sent with BDAT"),
    ],
)
def test_what_is_said_out_of_order(state, verb, text):
    assert out_of_order(state, verb).text == text
