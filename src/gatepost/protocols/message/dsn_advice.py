"""Explain an enhanced status code in plain words: the cause, who must act and what to do (RFC 3463).

`protocols.message.dsn_text` prints it where the report brings no advice of its own. Tables; the most exact entry wins.
"""

from __future__ import annotations

from typing import Final

from gatepost.protocols.message.dsn_report import Advice, DsnActor

# The keys are subject and detail of the status, or the subject alone; the class (4 or 5) does not change who can help.
# The statuses of three digits are Exchange's (exchange.md sections 7.3 and 10).

_CHECK_ADDRESS: Final = (
    "Check the address for spelling mistakes and send the message again, or ask the recipient for it.",
    {
        "1": "The receiving side did not accept the address.",
        "1.1": "There is no mailbox with this address.",
        "1.2": "The domain of the address does not exist or takes no mail.",
        "1.3": "The address is not written as an address must be.",
        "1.6": "The recipient has moved and left no new address.",
        "1.10": "The domain of the address says that it takes no mail.",
        "4.4": "No mail system for the domain of the address could be found.",
    },
)

_CHANGE_MESSAGE: Final = {
    "2.3": ("The message is larger than the mailbox takes.", "Send a smaller message, or a link to the files."),
    "3.4": ("The message is larger than the receiving side takes.", "Send a smaller message, or a link to the files."),
    "5.3": (
        "The message has more recipients than the receiving side takes.",
        "Send the message to fewer recipients at a time.",
    ),
    "6": ("The receiving side cannot take a message of this form.", "Send the message in another format."),
    "6.7": (
        "An address or the header of the message has letters that the receiving mail system cannot take (SMTPUTF8).",
        "Use addresses in US-ASCII letters, if sender and recipient have such.",
    ),
    "7.30": (
        "The message asks every mail system on its way to protect it (REQUIRETLS), and the next one cannot.",
        "Send the message without this demand, if its content allows.",
    ),
}

_TELL_OURS: Final = (
    "Hand this report to the administrators of this mail service.",
    {
        "1.7": "The receiving side did not accept the address of the sender.",
        "1.8": "The receiving side cannot find the domain of the sender.",
        "4.6": "The message went round in a loop between mail systems.",
        "4.14": "The message went round in a loop between mail systems.",
        "5": "The two mail systems did not understand each other.",
        "7.23": "The receiving side says that this mail service may not send for the domain of the sender (SPF).",
        "7.26": "The receiving side could not verify the sender (SPF, DKIM, DMARC).",
        "7.51": "The receiving organization takes mail of this sender only from agreed mail systems.",
        "7.64": "The receiving mail system does not forward mail for this sender.",
        "7.68": "The receiving organization takes mail in its own name only from agreed mail systems.",
    },
)

_TELL_RECIPIENT: Final = (
    "Ask the recipient, by other means, to have the administrators of that mail system look at this report.",
    {
        "2": "The mailbox cannot take the message.",
        "2.1": "The mailbox is switched off and takes no mail.",
        "3": "The receiving mail system could not take the message.",
        "3.1": "The receiving mail system has no room left.",
        "4": "The receiving mail system could not be reached.",
        "4.1": "The receiving mail system does not answer.",
        "4.2": "The connection to the receiving mail system broke.",
        "4.3": "The domain of the address could not be looked up.",
        "4.7": "The message could not be delivered in the time allowed for it.",
        "4.300": "The message could not be delivered in the time allowed for it.",
        "4.312": "The domain of the address could not be looked up.",
        "4.315": "The receiving mail system does not answer.",
        "4.316": "The receiving mail system refuses connections.",
        "4.318": "The connection to the receiving mail system broke.",
        "7": "The receiving side did not accept the message for reasons of security or policy.",
        "7.1": "The receiving side does not allow this message.",
    },
)

_MAKE_ROOM: Final = (
    "Ask the recipient, by other means, to make room in the mailbox, then send the message again.",
    {"2.2": "The mailbox of the recipient is full."},
)

_PROTECT: Final = (
    (
        "The message was not sent without the protection (TLS) that is required for this recipient. Ask the recipient,"
        " by other means, to have the administrators of that mail system look at this report; they must correct it."
    ),
    {
        "4.8": "The mail systems of the receiving domain are not those its policy names (MTA-STS).",
        "4.317": "No connection as it is required could be made to the receiving mail system.",
        "7.5": "The certificate of the receiving mail system does not satisfy the policy of its domain (MTA-STS).",
        "7.10": "The message is to be sent over protected connections only, and no such one could be made.",
        "7.320": "The certificate of the receiving mail system could not be verified.",
        "7.321": "The receiving domain promises protected connections (DANE), but its mail system offers none.",
        "7.322": "The certificate of the receiving mail system has expired.",
        "7.323": "The certificate of the receiving mail system is not the one its domain announces (DANE).",
        "7.324": "The signatures of the receiving domain in the DNS are wrong (DNSSEC).",
        "7.325": "The certificate of the receiving mail system names another host (DANE).",
    },
)


def _shared(actor: DsnActor, table: tuple[str, dict[str, str]]) -> dict[str, Advice]:
    fix, causes = table
    return {key: Advice(cause, actor, fix) for key, cause in causes.items()}


_ADVICE: Final = {
    **_shared(DsnActor.SENDER, _CHECK_ADDRESS),
    **{key: Advice(cause, DsnActor.SENDER, fix) for key, (cause, fix) in _CHANGE_MESSAGE.items()},
    **_shared(DsnActor.SERVICE, _TELL_OURS),
    **_shared(DsnActor.RECIPIENT, _TELL_RECIPIENT),
    **_shared(DsnActor.RECIPIENT, _MAKE_ROOM),
    **_shared(DsnActor.RECIPIENT, _PROTECT),
}

NO_CERTIFICATE: Final = Advice(
    "The message may leave only encrypted or signed (S/MIME), and for that a certificate is missing, has expired or "
    "cannot be used.",
    DsnActor.SERVICE,
    "Ask the administrators of this mail service to add a valid certificate of the recipient (or, for a signature, of "
    "the author), then send the message again. They find in this report whose is missing, and the command for it.",
)
"""The advice where the status alone would not give it: mail that waited for S/MIME."""

RETURNED: Final = Advice(
    "An administrator of this mail service ended the delivery of the message.",
    DsnActor.SERVICE,
    "Ask the administrators of this mail service why, or reach the recipient by other means.",
)
"""Mail that waited and was returned by hand."""

_OWN_FAULTS: Final = {
    "3.5": "This mail service is not set up correctly for mail to this recipient.",
    "4.4": "This mail service may not connect to the network of the next mail system.",
    "4.5": "This mail service was too busy to learn how the receiving domain wants its mail to be protected.",
    "7.8": "This mail service could not log in to the next mail system.",
}

_UNKNOWN: Final = Advice("The receiving side did not accept the message.", DsnActor.RECIPIENT, _TELL_RECIPIENT[0])


def advice_for(status: str) -> Advice:
    """Advice for a status "class.subject.detail"; for any other text the general one."""
    _, _, rest = status.partition(".")
    return _ADVICE.get(rest) or _ADVICE.get(rest.partition(".")[0]) or _UNKNOWN


def own_fault(status: str) -> Advice:
    """Advice for what the administrators of this mail service must correct, by the same statuses."""
    cause = _OWN_FAULTS.get(status.partition(".")[2]) or advice_for(status).cause
    return Advice(cause, DsnActor.SERVICE, _TELL_OURS[0])
