"""Send alarms to the configured webhook: signed, bounded, and to no other address.

Called by `node.alarms`, which tries again what failed. The secret is read anew for each post, so that it may be changed
while the gateway runs; it is in no log and no error.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gatepost.analysis.alarms.letter import CONTENT_TYPE, LEAST_SECRET, post_body, signed_headers
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest
from gatepost.pki.certificates.vault import VaultError, read_secret

if TYPE_CHECKING:
    from gatepost.analysis.alarms.alarm import Post
    from gatepost.settings.model import Settings


_TIMEOUT: Final = 20.0
_LIMIT: Final = 65536
_GONE: Final = "make one with: (umask 077; openssl rand -base64 32 > FILE), and give it to the receiver"

_log = logging.getLogger(__name__)


def webhook_secret(setting: str) -> bytes:
    """The secret that `alarms.webhook_secret` stands for, without white space around it. Raises VaultError."""
    secret = read_secret(setting, what="webhook secret", gone=_GONE).strip()
    if len(secret) < LEAST_SECRET:
        raise VaultError(f"the webhook secret has {len(secret)} bytes, {LEAST_SECRET} or more are needed; {_GONE}")
    return secret


class AlarmPost:
    """client: checks the receiver's certificate by the anchors of the settings."""

    def __init__(self, settings: Settings, client: HttpClient) -> None:
        self._alarms = settings.alarms
        self._hostname = settings.server.hostname
        self._client = client

    @property
    def wanted(self) -> bool:
        """Whether there is a webhook."""
        return bool(self._alarms.webhook)

    async def send(self, post: Post, *, now: float) -> bool:
        """Whether the receiver took it, by a status of 2xx. Why not is in the log."""
        body = post_body(self._hostname, post)
        try:
            secret = webhook_secret(self._alarms.webhook_secret)
            await self._client.fetch(self._request(body, signed_headers(secret, post, body, now=now)))
        except VaultError as failure:
            _log.error("alarms are not posted: %s", failure)
            return False
        except HttpFailed as failure:
            if 200 <= failure.status < 300:
                return True
            _log.warning("alarms are not posted yet, try %d: %s", post.tries + 1, failure.detail)
            return False
        return True

    def _request(self, body: bytes, headers: tuple[tuple[str, str], ...]) -> HttpRequest:
        return HttpRequest(
            self._alarms.webhook,
            _LIMIT,
            _TIMEOUT,
            body,
            CONTENT_TYPE,
            private=self._alarms.webhook_private,
            fields=headers,
        )
