"""Ask Microsoft Graph whether a recipient of a relayed domain exists, with the app registration of the domain.

Called by `mail.inbound.recipient_lookups`, which remembers the answers and limits the questions. Tokens are those of
`net.lookups.access_tokens`, requests those of `net.lookups.graph`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.net.lookups.access_tokens import AccessTokens, TokenRequest, TokenUnavailable
from gatepost.net.lookups.graph import MOST_ADDRESSES, GraphApp, GraphClient, GraphUnavailable
from gatepost.pki.certificates.connector_secrets import SealedSecrets, SecretError
from gatepost.pki.certificates.directory_secrets import directory_place
from gatepost.policy.connectors.grants import UNGRANTED_PATH
from gatepost.policy.decisions.recipient_validation import RecipientAnswer, RecipientQuestion

if TYPE_CHECKING:
    from gatepost.policy.connectors.recipient_graph import RecipientGraph


GRAPH_SECONDS: Final = 20.0
"""For all of one question: the client waits for the reply to its RCPT meanwhile."""


class RecipientGraphSource(msgspec.Struct, frozen=True):
    """client, tokens: of the worker. stored: client secrets."""

    client: GraphClient
    tokens: AccessTokens
    stored: SealedSecrets
    seconds: float = GRAPH_SECONDS

    async def __call__(self, question: RecipientQuestion) -> RecipientAnswer:
        """What Graph says. Faults of networks, tokens and secrets are answers, too."""
        graph = question.domain.recipient_graph
        if graph is None or (why := _unusable(question, graph)):
            return RecipientAnswer(exists=None, source=why if graph else "the domain names no app registration")
        try:
            async with asyncio.timeout(self.seconds):
                return await self._queried(question, graph)
        except TimeoutError:
            return _down(graph, f"no answer within {self.seconds:g} s")
        except (GraphUnavailable, TokenUnavailable) as failure:
            return _down(graph, failure.detail)
        except SecretError as error:
            return _down(graph, f"the gateway cannot log in: {error}")

    async def _queried(self, question: RecipientQuestion, graph: RecipientGraph) -> RecipientAnswer:
        app = GraphApp(graph.url, graph.tenant_id, graph.client_id, graph.is_microsofts)
        self.client.check(app)
        place = directory_place(question.organization, question.domain)
        secret = await asyncio.to_thread(self.stored.read, place)
        request = TokenRequest(graph.token_url, graph.client_id, graph.scope, secret, app.bounded)
        token = await self.tokens.token(request)
        try:
            kind = await self.client.has_recipient(app, question.addresses, token)
        except GraphUnavailable as failure:
            if not failure.unauthorized:
                raise
            # The permission may have been withdrawn, or the keys changed, before the token ended.
            self.tokens.forget(request, token)
            kind = await self.client.has_recipient(app, question.addresses, await self.tokens.token(request))
        return _answer(graph, kind)


def _unusable(question: RecipientQuestion, graph: RecipientGraph) -> str:
    """Why nothing is asked, "" if it may be."""
    if UNGRANTED_PATH in {graph.url, graph.login_url}:
        return "no owner of the gateway has granted the address of Microsoft Graph"
    if len(question.addresses) > MOST_ADDRESSES:
        return "the address has too many separators to be looked up"
    return ""


def _answer(graph: RecipientGraph, kind: str) -> RecipientAnswer:
    source = f"Microsoft Graph at {graph.url}"
    if not kind:
        return RecipientAnswer(exists=False, source=f"{source} has no user and no group with it")
    return RecipientAnswer(exists=True, source=f"{source} has a {kind} with it")


def _down(graph: RecipientGraph, why: str) -> RecipientAnswer:
    return RecipientAnswer(exists=None, source=f"Microsoft Graph at {graph.url} gives no answer: {why}", is_down=True)
