"""Saving a connector for the sake of a message that waits: the mail for its destination is tried again at once.

The page of a message leads to the form of its connector with these fields in the address, the form carries them, and
what is saved leads to the message's trace. Used by `message_head`, `editor`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.language import _, ngettext
from gatepost.manage.pages.guard import perform
from gatepost.manage.pages.resource_paths import trace_path
from gatepost.manage.use_cases.queue_actions import QueueAction, QueueActions, act_on_queue
from gatepost.manage.use_cases.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request


_IN_FORCE: Final = 2.0
"""Seconds within which a running gateway takes up a change."""


class RetryTarget(NamedTuple):
    """message: the queue id that it is about. organization, domain: the destination whose mail is tried again."""

    message: str
    organization: str
    domain: str

    @property
    def fields(self) -> dict[str, str]:
        """For addresses and forms."""
        return {
            "retry-message": self.message,
            "retry-organization": self.organization,
            "retry-domain": self.domain,
        }

    @property
    def path(self) -> str:
        """The trace of the message."""
        return trace_path(self.message)


def retry_target(given: Mapping[str, str]) -> RetryTarget | None:
    """Read it from an address or a form; None if it has none."""
    names = ("retry-message", "retry-organization", "retry-domain")
    values = [given.get(name, "").strip()[:255] for name in names]
    return RetryTarget(*values) if all(values) else None


def retry(request: Request, target: RetryTarget, *, changed: bool) -> str:
    """Try the mail of the destination again; a sentence that says how much, or why not.

    changed: wait until what was saved is in force, or the mail would be tried as before, and wait for longer then.
    """
    if changed:
        time.sleep(_IN_FORCE)
    actions = QueueActions(action=QueueAction.RETRY, organization=target.organization, domain=target.domain)
    try:
        done = perform(request, act_on_queue, actions)
    except Refusal as refusal:
        return _("The mail for %(domain)s was not retried: %(text)s", domain=target.domain, text=refusal.text)
    if not done.changed:
        return _("No mail waits for %(domain)s any more.", domain=target.domain)
    return ngettext(
        "Retrying %(num)s delivery to %(domain)s.",
        "Retrying %(num)s deliveries to %(domain)s.",
        done.changed,
        domain=target.domain,
    )
