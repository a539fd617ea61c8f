"""Ask the LDAP directory of an accepted domain whether a recipient exists.

Called by `mail.inbound.recipient_lookups`, which remembers the answers and limits the questions. What a result means is
`policy.decisions.recipient_validation`'s; connections are those of `net.lookups.ldap`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import msgspec

from gatepost.net.lookups.ldap import LdapClient, LdapDirectory, LdapSearch, LdapServer, LdapUnavailable
from gatepost.pki.certificates.connector_secrets import SealedSecrets, SecretError
from gatepost.pki.certificates.directory_secrets import directory_place
from gatepost.policy.connectors.recipient_directory import RecipientDirectory, server_of
from gatepost.policy.decisions.recipient_validation import RecipientAnswer, RecipientQuestion, answer_of_directory
from gatepost.protocols.ldap.search_filter import parse_filter

DIRECTORY_SECONDS: Final = 20.0
"""For all of one question, with the wait for a connection: the client waits for the reply to its RCPT meanwhile."""


class RecipientDirectorySource(msgspec.Struct, frozen=True):
    """client: of the worker. stored: passwords. anchors: where a directory names none."""

    client: LdapClient
    stored: SealedSecrets
    anchors: str
    seconds: float = DIRECTORY_SECONDS

    async def __call__(self, question: RecipientQuestion) -> RecipientAnswer:
        """The answer of the first server that gives one. Faults of servers, networks and passwords are answers, too."""
        wanted = question.domain.recipient_directory
        if wanted is None:
            return RecipientAnswer(exists=None, source="the domain names no directory")
        encoded = parse_filter(wanted.search_filter).encoded(question.addresses)
        password = partial(self.stored.read, directory_place(question.organization, question.domain))
        try:
            async with asyncio.timeout(self.seconds):
                outcome = await self.client.search(
                    self._directory(question, wanted), LdapSearch(wanted.base_dn, encoded), password
                )
        except TimeoutError:
            return _down(f"no answer within {self.seconds:g} s")
        except LdapUnavailable as failure:
            return _down(str(failure))
        except SecretError as error:
            return _down(f"it cannot be logged in to: {error}")
        return answer_of_directory(
            outcome.result, str(outcome.server), found=outcome.found, references=outcome.references
        )

    def _directory(self, question: RecipientQuestion, wanted: RecipientDirectory) -> LdapDirectory:
        servers = tuple(LdapServer(*server_of(url)) for url in wanted.urls)
        whose = f"{question.organization}/{question.domain.name}"
        return LdapDirectory(servers, wanted.bind_dn, wanted.trust_anchors or self.anchors, whose)


def _down(why: str) -> RecipientAnswer:
    return RecipientAnswer(exists=None, source=f"the directory gives no answer: {why}", is_down=True)
