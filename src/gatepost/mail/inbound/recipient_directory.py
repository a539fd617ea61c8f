"""Ask the LDAP directory of an accepted domain whether a recipient exists.

Called by `mail.inbound.recipient_lookups`, which remembers the answers and limits the questions. What a result means is
`policy.decisions.recipient_validation`'s; connections are those of `net.lookups.ldap`.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

import msgspec

from gatepost.net.lookups.ldap import (
    LdapClient,
    LdapDirectory,
    LdapOutcome,
    LdapSearch,
    LdapServer,
    LdapUnavailable,
)
from gatepost.pki.certificates.connector_secrets import SealedSecrets, SecretError
from gatepost.pki.certificates.directory_secrets import directory_place
from gatepost.policy.connectors.recipient_directory import RecipientDirectory, server_of
from gatepost.policy.decisions.recipient_validation import RecipientAnswer, RecipientQuestion, answer_of_directory
from gatepost.protocols.ldap.messages import ResultCode
from gatepost.protocols.ldap.search_filter import parse_filter

DIRECTORY_SECONDS: Final = 20.0
"""For all of one question, with the wait for a connection: the client waits for the reply to its RCPT meanwhile."""
_SHOWN_SECONDS: Final = 5.0
"""After an entry was found, what a search does not find does not exist. Else the directory may hide its entries."""


class RecipientDirectorySource(msgspec.Struct, frozen=True):
    """client: of the worker. stored: passwords. anchors: where a directory names none.

    shown: when a domain's directory showed an entry, by organization and domain.
    """

    client: LdapClient
    stored: SealedSecrets
    anchors: str
    seconds: float = DIRECTORY_SECONDS
    shown: dict[tuple[str, str], tuple[RecipientDirectory, float]] = msgspec.field(default_factory=dict)

    async def __call__(self, question: RecipientQuestion) -> RecipientAnswer:
        """The answer of the first server that gives one. Faults of servers, networks and passwords are answers, too."""
        wanted = question.domain.recipient_directory
        if wanted is None:
            return RecipientAnswer(exists=None, source="the domain names no directory")
        search_filter = parse_filter(wanted.search_filter)
        try:
            async with asyncio.timeout(self.seconds):
                outcome = await self._search(question, wanted, search_filter.encoded(question.addresses))
                if is_empty := _is_empty(outcome) and not self._has_shown(question, wanted):
                    others = search_filter.encoded_for_others(question.addresses[0])
                    is_empty = _is_empty(await self._search(question, wanted, others))
        except TimeoutError:
            return _down(f"no answer within {self.seconds:g} s")
        except LdapUnavailable as failure:
            return _down(str(failure))
        except SecretError as error:
            return _down(f"it cannot be logged in to: {error}")
        return answer_of_directory(
            outcome.result,
            str(outcome.server),
            found=outcome.found,
            references=outcome.references,
            is_empty=is_empty,
        )

    async def _search(self, question: RecipientQuestion, wanted: RecipientDirectory, encoded: bytes) -> LdapOutcome:
        password = partial(self.stored.read, directory_place(question.organization, question.domain))
        search = LdapSearch(wanted.base_dn, encoded)
        outcome = await self.client.search(self._directory(question, wanted), search, password)
        if outcome.found:
            self.shown[question.organization, question.domain.name] = wanted, time.monotonic()
        return outcome

    def _has_shown(self, question: RecipientQuestion, wanted: RecipientDirectory) -> bool:
        """Whether the directory, as it is configured now, showed an entry a short time ago."""
        directory, at = self.shown.get((question.organization, question.domain.name), (None, 0.0))
        return directory == wanted and time.monotonic() - at < _SHOWN_SECONDS

    def _directory(self, question: RecipientQuestion, wanted: RecipientDirectory) -> LdapDirectory:
        servers = tuple(LdapServer(*server_of(url)) for url in wanted.urls)
        whose = f"{question.organization}/{question.domain.name}"
        return LdapDirectory(servers, wanted.bind_dn, wanted.trust_anchors or self.anchors, whose)


def _is_empty(outcome: LdapOutcome) -> bool:
    """Whether the directory says that it has nothing of the kind."""
    return not outcome.found and outcome.result.code == ResultCode.SUCCESS


def _down(why: str) -> RecipientAnswer:
    return RecipientAnswer(exists=None, source=f"the directory gives no answer: {why}", is_down=True)
