"""The roles of listening addresses, a part of `settings.model`."""

from __future__ import annotations

from enum import StrEnum


class ListenerRole(StrEnum):
    """The role of a listening address."""

    MX = "mx"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"
    INTERNAL = "internal"

    @property
    def for_users(self) -> bool:
        """Whether those who connect are users, who have to log in."""
        return self in {ListenerRole.SUBMISSION, ListenerRole.SUBMISSIONS}
