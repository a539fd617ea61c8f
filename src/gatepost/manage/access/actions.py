"""The names of what is done, as the audit has them: one list, one form. Pure.

A name is lower-case words joined by hyphens: what it is about, then what is done to it, in the words of the command
that does the same ("queue-drop", "certificate-roll-back"). Events are stored by name and kept for 400 days, so that a
name that was once given is never given up: `RENAMED` has what others were called before.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal, get_args

type Action = Literal[
    # who somebody is. request: what was refused before anything was done
    "log-in",
    "log-out",
    "confirm",
    "setup-code",
    "setup",
    "request",
    # resources: what was refused; what was done is in the history
    "change",
    # what asks others
    "connector-validate",
    "connector-drill",
    "hook-check",
    "issuer-check",
    "explain",
    "check-partner",
    "check-host",
    # mail. queue, destination: a call that did not say what to do
    "queue",
    "queue-retry",
    "queue-hold",
    "queue-release",
    "queue-return",
    "queue-drop",
    "queue-header",
    "queue-content",
    "destination",
    "destination-accept",
    "destination-forget",
    # certificates, domains and keys
    "certificate-add",
    "certificate-request",
    "certificate-remove",
    "certificate-request-remove",
    "certificate-directory-add",
    "certificate-directory-remove",
    "certificate-renew",
    "certificate-acme-forget",
    "certificate-look",
    "certificate-stage",
    "certificate-switch",
    "certificate-cancel",
    "certificate-roll-back",
    "certificate-withdraw",
    "certificate-tell",
    "domain-verify",
    "grant-add",
    "dkim-add",
    "dkim-import",
    "dkim-rotate",
    # the evidence log
    "evidence-verify",
    "evidence-export",
    # nodes
    "node-drain",
    "node-remove",
    # accounts
    "mailbox-password",
    "user-add",
    "user-set",
    "user-remove",
    "session-end",
    "passkey-add",
    "passkey-remove",
    "token-add",
    "token-remove",
]
"""What an audit event may be called."""

ACTIONS: Final[tuple[Action, ...]] = get_args(Action.__value__)
"""All of them, in the order in which a page offers them."""

RENAMED: Final = MappingProxyType[str, Action](
    {
        "evidence.verify": "evidence-verify",
        "evidence.export": "evidence-export",
        "queue retry": "queue-retry",
        "queue hold": "queue-hold",
        "queue release": "queue-release",
        "queue return": "queue-return",
        "queue drop": "queue-drop",
        "queue header": "queue-header",
        "queue content": "queue-content",
        "destination accept": "destination-accept",
        "destination forget": "destination-forget",
    }
)
"""Names that stored audit events may have -> what they are called now."""


def named(*words: str) -> Action:
    """The action of these words, such as "queue" and "drop". Raises ValueError if there is none of that name."""
    name = "-".join(words)
    for action in ACTIONS:
        if action == name:
            return action
    raise ValueError(f"{name!r} is no action that the audit knows; gatepost.manage.access.actions has them all")


def present(name: str) -> str:
    """The current name of an action; an unknown name stays as it is."""
    return RENAMED.get(name, name)


def spellings(name: str) -> list[str]:
    """Every name that audit events of this action may be stored under. name: of now or of before."""
    now = present(name)
    return [now, *(before for before, after in RENAMED.items() if after == now)]
