"""A small shell around the server core: it decides as it is told and writes down what happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.events import AbortEvent, ChunkEvent, Event
from gatepost.protocols.smtp.server.server import Server


@dataclass
class Shell:
    """One session. refusals: the reply to each kind of event that is refused; all else is accepted."""

    limits: SmtpLimits = field(default_factory=SmtpLimits)
    extensions: Extensions | None = None
    refusals: dict[type, Reply] = field(default_factory=dict)
    stamp: str = ""
    greeted: bool = True

    def __post_init__(self):
        self.extensions = self.extensions or Extensions.within(self.limits, starttls=True)
        self.server = Server("mx.example", self.extensions, self.limits, lambda: self.stamp)
        self.events: list[Event] = []
        self.output = b""
        if self.greeted:
            self.server.greet()
            self.server.take_output()

    def send(self, *pieces: bytes) -> bytes:
        """Octets from the client, one `receive` for each piece; what the server says to them."""
        before = len(self.output)
        for piece in pieces:
            self.server.receive(piece)
            self.settle()
        return self.output[before:]

    def settle(self) -> None:
        """Decide until the server needs octets."""
        while (event := self.server.next_event()) is not None:
            self.events.append(event)
            if event.decision and type(event) in self.refusals:
                self.server.refuse(self.refusals[type(event)])
            elif event.decision:
                self.server.accept()
        self.output += self.server.take_output()

    def to_mail(self, mail: bytes = b"MAIL FROM:<a@b.example>") -> Shell:
        self.send(b"EHLO c.example\r\n", mail + b"\r\n")
        return self

    def to_rcpt(self, mail: bytes = b"MAIL FROM:<a@b.example>") -> Shell:
        self.to_mail(mail).send(b"RCPT TO:<d@e.example>\r\n")
        return self

    def to_data(self) -> Shell:
        self.to_rcpt().send(b"DATA\r\n")
        return self

    @property
    def names(self) -> list[str]:
        """The kinds of events so far, chunks left out."""
        return [type(event).__name__ for event in self.events if not isinstance(event, ChunkEvent)]

    def kinds(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def content(self) -> bytes:
        return b"".join(event.data for event in self.kinds(ChunkEvent))

    @property
    def story(self) -> list[tuple]:
        """What happened, however the octets came: chunks joined, those of a message that was given up forgotten."""
        story: list[tuple] = []
        content = b""
        for event in self.events:
            if isinstance(event, ChunkEvent):
                content += event.data
                continue
            if content and not isinstance(event, AbortEvent):
                story.append(("content", content))
            content = b""
            story.append((type(event).__name__, [getattr(event, name) for name in type(event).__match_args__]))
        return [*story, ("state", self.server.state, self.server.errors, self.server.closing, self.output)]


def pieces_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """data cut at the given places; places outside it do nothing."""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:end] for start, end in pairwise(places)]


@pytest.fixture(scope="session")
def shell() -> type[Shell]:
    return Shell


@pytest.fixture(scope="session")
def cut():
    return pieces_of
