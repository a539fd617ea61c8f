"""Replies by which an inbound session ends, or takes no message from anybody. Used by `mail.inbound.session`."""

from __future__ import annotations

from typing import Final

from gatepost.protocols.smtp.replies import Reply

TIMED_OUT: Final = Reply(421, "4.4.2", ("Timed out waiting for your next command",))
TOO_SLOW: Final = Reply(421, "4.4.2", ("The message arrives more slowly than we accept",))
TOO_LONG: Final = Reply(421, "4.4.2", ("The session has lasted as long as we allow",))
FAULT: Final = Reply(421, "4.3.0", ("Temporary server error, try again later",))
TOO_MANY_LOGINS: Final = Reply(421, "4.7.0", ("Too many failed log-ins in one session, closing",))
DRAINING: Final = Reply(421, "4.3.2", ("Service shutting down, try again later",))
