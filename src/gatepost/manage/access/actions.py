"""The names of what is done, as the audit has them: one list, one form. Pure.

A name is lower-case words joined by hyphens: what it is about, then what is done to it, in the words of the command
that does the same ("queue-drop", "certificate-roll-back"). Events are stored by name and kept for 400 days, so that a
name that was once given is never given up: `RENAMED` has what others were called before.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

from gatepost.texts import N_

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
        "log-in": N_("Log in"),
        "log-out": N_("Log out"),
        "confirm": N_("Confirm password"),
        "setup-code": N_("Create setup code"),
        "setup": N_("Create owner account"),
        "request": N_("Other request"),
        "change": N_("Change resources"),
        "connector-validate": N_("Validate connector"),
        "connector-validate-stop": N_("Stop validation"),
        "connector-drill": N_("Drill connector"),
        "hook-check": N_("Test content hook"),
        "issuer-check": N_("Test OAuth issuer"),
        "explain": N_("Explain message"),
        "check-partner": N_("Check domain"),
        "check-host": N_("Check host"),
        "queue": N_("Act on queue"),
        "queue-retry": N_("Retry mail"),
        "queue-hold": N_("Hold mail"),
        "queue-release": N_("Release mail"),
        "queue-return": N_("Return mail to sender"),
        "queue-drop": N_("Drop mail"),
        "queue-header": N_("View message header"),
        "queue-content": N_("Download message"),
        "quarantine": N_("Act on quarantine"),
        "quarantine-release": N_("Release from quarantine"),
        "quarantine-delete": N_("Delete from quarantine"),
        "quarantine-header": N_("View header in quarantine"),
        "quarantine-content": N_("Download from quarantine"),
        "destination": N_("Act on destination"),
        "destination-accept": N_("Accept destination as it is"),
        "destination-forget": N_("Forget destination history"),
        "limit-lift": N_("Lift daily limit"),
        "certificate-add": N_("Add certificate"),
        "certificate-request": N_("Request certificate"),
        "certificate-remove": N_("Remove certificate"),
        "certificate-request-remove": N_("Remove certificate request"),
        "certificate-directory-add": N_("Watch certificate directory"),
        "certificate-directory-remove": N_("Stop watching certificate directory"),
        "certificate-renew": N_("Renew certificates"),
        "certificate-acme-forget": N_("Forget ACME account"),
        "certificate-look": N_("Check changeover"),
        "certificate-stage": N_("Choose certificates to replace"),
        "certificate-switch": N_("Switch certificate"),
        "certificate-cancel": N_("Cancel planned switch"),
        "certificate-roll-back": N_("Roll back switch"),
        "certificate-withdraw": N_("Destroy key of deprecated certificate"),
        "certificate-tell": N_("Record notification of partners"),
        "domain-verify": N_("Verify domain"),
        "grant-add": N_("Add grant"),
        "dkim-add": N_("Add DKIM key"),
        "dkim-import": N_("Import DKIM key"),
        "dkim-rotate": N_("Rotate DKIM keys"),
        "connector-secret": N_("Change connector secret"),
        "directory-password": N_("Change directory password"),
        "srs-rotate": N_("Rotate SRS key"),
        "srs-remove": N_("Remove SRS key"),
        "evidence-verify": N_("Verify evidence log"),
        "evidence-export": N_("Export evidence"),
        "node-drain": N_("Drain node"),
        "node-remove": N_("Remove node"),
        "mailbox-password": N_("Change mailbox password"),
        "user-add": N_("Add user"),
        "user-set": N_("Change user"),
        "user-remove": N_("Remove user"),
        "session-end": N_("End sessions"),
        "passkey-add": N_("Add passkey"),
        "passkey-remove": N_("Remove passkey"),
        "token-add": N_("Add API token"),
        "token-remove": N_("Remove API token"),
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
    raise ValueError(f"{name!r} is not an action that the audit knows; gatepost.manage.access.actions has them all")


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
