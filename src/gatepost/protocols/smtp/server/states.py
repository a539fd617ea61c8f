"""The state machine of an SMTP session as one table (RFC 5321 section 4.1.4, RFC 3030, RFC 3207, RFC 4954).

`protocols.smtp.server.server` is driven by it; diagrams and tests read it. It says what may come, never what to do
about it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from gatepost.protocols.smtp import replies
from gatepost.protocols.smtp.commands import Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.protocols.smtp.replies import Reply


class State(IntEnum):
    """Where a session stands."""

    OPENING = 0  # we have not greeted yet
    CONNECTED = 1  # the client has not said who it is
    GREETED = 2  # no transaction is open
    MAIL = 3  # a transaction without a recipient
    RCPT = 4  # a transaction with a recipient at least
    DATA = 5  # the content arrives, what looks like a command is content
    BDAT = 6  # the content arrives in chunks, each announced by a command
    REFUSED = 7  # as GREETED, but what was pipelined behind a refused MAIL, DATA or BDAT may still come
    TLS = 8  # STARTTLS was accepted, the handshake runs
    CLOSED = 9  # the last reply was given
    AUTH = 10  # a challenge was sent, the next line answers it


def _with_common(state: State, **more: State) -> Mapping[Verb, State]:
    """What may come in each state in which commands may come at all (RFC 5321 section 4.1.4)."""
    reset = State.CONNECTED if state is State.CONNECTED else State.GREETED
    common = {
        Verb.EHLO: State.GREETED,
        Verb.HELO: State.GREETED,
        Verb.RSET: reset,
        Verb.NOOP: state,
        Verb.VRFY: state,
        Verb.HELP: state,
        Verb.QUIT: State.CLOSED,
    }
    return common | {Verb(verb): after for verb, after in more.items()}


_BEFORE_MAIL: Final = {
    "STARTTLS": State.TLS,
    "AUTH": State.GREETED,
    "XCLIENT": State.CONNECTED,
    "MAIL": State.MAIL,
}

# state → command that may come → state once it is accepted
TABLE: Final[Mapping[State, Mapping[Verb, State]]] = {
    State.OPENING: {},
    State.CONNECTED: _with_common(State.CONNECTED, XCLIENT=State.CONNECTED),
    State.GREETED: _with_common(State.GREETED, **_BEFORE_MAIL),
    State.MAIL: _with_common(State.MAIL, RCPT=State.RCPT),
    State.RCPT: _with_common(State.RCPT, RCPT=State.RCPT, DATA=State.DATA, BDAT=State.BDAT),
    State.DATA: {},
    State.BDAT: _with_common(State.BDAT, BDAT=State.BDAT),
    State.REFUSED: _with_common(State.REFUSED, **_BEFORE_MAIL),
    State.TLS: {},
    State.CLOSED: {},
    State.AUTH: {},
}


def out_of_order(state: State, verb: Verb) -> Reply:
    """What to say to a command that `TABLE` does not have for this state: 503, or 554 where no recipient was accepted.

    Only for states in which commands come at all.
    """
    if state is State.CONNECTED:
        return replies.HELLO_FIRST
    if state is State.BDAT:
        return replies.CHUNKS_BEGUN
    if state is State.MAIL and verb in {Verb.DATA, Verb.BDAT}:
        return replies.NO_RECIPIENTS
    return replies.TRANSACTION_OPEN if state in {State.MAIL, State.RCPT} else replies.MAIL_FIRST
