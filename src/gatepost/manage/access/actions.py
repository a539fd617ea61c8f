"""The names of what is done, as the audit has them: one list, one form. Pure.

A name is lower-case words joined by hyphens: what it is about, then what is done to it, in the words of the command
that does the same ("queue-drop", "certificate-roll-back"). Events are stored by name and kept for 400 days, so that a
name that was once given is never given up: `RENAMED` has what others were called before.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

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
    "connector-validate-stop",
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
    "quarantine",
    "quarantine-release",
    "quarantine-delete",
    "quarantine-header",
    "quarantine-content",
    "destination",
    "destination-accept",
    "destination-forget",
    "limit-lift",
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
    "connector-secret",
    "directory-password",
    "srs-rotate",
    "srs-remove",
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

LABELS: Final = MappingProxyType[Action, str](
    {
        "log-in": "Log in",
        "log-out": "Log out",
        "confirm": "Confirm password",
        "setup-code": "Create setup code",
        "setup": "Create owner account",
        "request": "Other request",
        "change": "Change resources",
        "connector-validate": "Validate connector",
        "connector-validate-stop": "Stop validation",
        "connector-drill": "Drill connector",
        "hook-check": "Test content hook",
        "issuer-check": "Test OAuth issuer",
        "explain": "Explain message",
        "check-partner": "Check domain",
        "check-host": "Check host",
        "queue": "Act on queue",
        "queue-retry": "Retry mail",
        "queue-hold": "Hold mail",
        "queue-release": "Release mail",
        "queue-return": "Return mail to sender",
        "queue-drop": "Drop mail",
        "queue-header": "View message header",
        "queue-content": "Download message",
        "quarantine": "Act on quarantine",
        "quarantine-release": "Release from quarantine",
        "quarantine-delete": "Delete from quarantine",
        "quarantine-header": "View header in quarantine",
        "quarantine-content": "Download from quarantine",
        "destination": "Act on destination",
        "destination-accept": "Accept destination as it is",
        "destination-forget": "Forget destination history",
        "limit-lift": "Lift daily limit",
        "certificate-add": "Add certificate",
        "certificate-request": "Request certificate",
        "certificate-remove": "Remove certificate",
        "certificate-request-remove": "Remove certificate request",
        "certificate-directory-add": "Watch certificate directory",
        "certificate-directory-remove": "Stop watching certificate directory",
        "certificate-renew": "Renew certificates",
        "certificate-acme-forget": "Forget ACME account",
        "certificate-look": "Check changeover",
        "certificate-stage": "Choose certificates to replace",
        "certificate-switch": "Switch certificate",
        "certificate-cancel": "Cancel planned switch",
        "certificate-roll-back": "Roll back switch",
        "certificate-withdraw": "Destroy key of deprecated certificate",
        "certificate-tell": "Record notification of partners",
        "domain-verify": "Verify domain",
        "grant-add": "Add grant",
        "dkim-add": "Add DKIM key",
        "dkim-import": "Import DKIM key",
        "dkim-rotate": "Rotate DKIM keys",
        "connector-secret": "Change connector secret",
        "directory-password": "Change directory password",
        "srs-rotate": "Rotate SRS key",
        "srs-remove": "Remove SRS key",
        "evidence-verify": "Verify evidence log",
        "evidence-export": "Export evidence",
        "node-drain": "Drain node",
        "node-remove": "Remove node",
        "mailbox-password": "Change mailbox password",
        "user-add": "Add user",
        "user-set": "Change user",
        "user-remove": "Remove user",
        "session-end": "End sessions",
        "passkey-add": "Add passkey",
        "passkey-remove": "Remove passkey",
        "token-add": "Add API token",
        "token-remove": "Remove API token",
    }
)
"""What people read in place of each name, in the order in which a page offers them."""

ACTIONS: Final[tuple[Action, ...]] = tuple(LABELS)
"""All of them, in that order."""

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


def action_label(name: str) -> str:
    """The label of an action. name: of now or of before; an unknown name is its own label."""
    return next((label for action, label in LABELS.items() if action == present(name)), name)


def action_name(text: str) -> str:
    """The current name of an action. text: its name of now or of before, or its label; other text stays as it is."""
    return next((action for action, label in LABELS.items() if label.lower() == text.lower()), present(text))


def spellings(name: str) -> list[str]:
    """Every name that audit events of this action may be stored under. name: of now or of before."""
    now = present(name)
    return [now, *(before for before, after in RENAMED.items() if after == now)]
