"""Keep what was decided last in a session: a client that sends many messages often repeats its envelope.

`mail.inbound.decisions` and `mail.inbound.transaction` ask here and not `policy.decisions` itself. Policy is pure:
under one directory it says of the same facts and addresses the same. For another one a session begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.decisions.header_trust import HeaderTrust, header_trust
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.match import Attribution
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.protocols.smtp.grammar import Path


class RepeatedDecisions:
    """The last verdicts of a session under one directory, which is the same at each call.

    Facts and attribution are compared by identity: whoever changes them makes new ones.
    """

    __slots__ = ("_mail", "_recipient", "_trust")

    def __init__(self) -> None:
        self._mail: tuple[SessionFacts, Path, InboundVerdict] | None = None
        self._recipient: tuple[Attribution | None, SessionFacts, Path, Path, InboundVerdict] | None = None
        self._trust: tuple[InboundVerdict, SessionFacts, Path, HeaderTrust] | None = None

    def mail(self, directory: Directory, facts: SessionFacts, sender: Path) -> InboundVerdict:
        """On MAIL FROM: see `decide_mail`."""
        last = self._mail
        if last is not None and last[0] is facts and last[1] == sender:
            return last[2]
        verdict = decide_mail(directory, facts, sender)
        self._mail = facts, sender, verdict
        return verdict

    def recipient(
        self, directory: Directory, facts: SessionFacts, sender: Path, recipient: Path, attribution: Attribution | None
    ) -> InboundVerdict:
        """On the first RCPT TO of a message: see `decide_recipient`."""
        last = self._recipient
        if last is not None and last[0] is attribution and last[1] is facts and last[2:4] == (sender, recipient):
            return last[4]
        verdict = decide_recipient(directory, facts, sender, recipient, attribution)
        self._recipient = attribution, facts, sender, recipient, verdict
        return verdict

    def trust(
        self, directory: Directory, facts: SessionFacts, sender: Path, verdicts: Sequence[InboundVerdict]
    ) -> HeaderTrust:
        """On DATA, of a message with these recipients: see `header_trust`."""
        last, first = self._trust, verdicts[0]
        if len(verdicts) > 1:
            return header_trust(directory, facts, sender, verdicts)
        if last is not None and last[0] is first and last[1] is facts and last[2] == sender:
            return last[3]
        trust = header_trust(directory, facts, sender, verdicts)
        self._trust = first, facts, sender, trust
        return trust
