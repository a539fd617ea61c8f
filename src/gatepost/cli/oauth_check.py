"""`gatepost issuer check`: fetches the keys of an OAuth issuer, and judges a token by them.

Runs the code that a worker runs at a log-in, without the gateway.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import jwt

from gatepost.administration.choice import choose_part
from gatepost.administration.parts import ISSUER
from gatepost.administration.resolving import resolver_of
from gatepost.cli.chosen import stored_directory
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import print_json, print_table, printable
from gatepost.inbound.tokens import judge_token
from gatepost.lookup.http import HttpFailed
from gatepost.lookup.issuer_keys import IssuerKeys
from gatepost.lookup.jwks import JwksError
from gatepost.net.anchors import AnchorsError
from gatepost.smtp.oauth import TOKEN_OCTETS

if TYPE_CHECKING:
    from gatepost.connectors.match import Directory
    from gatepost.connectors.model import OauthIssuer
    from gatepost.lookup.jwks import IssuerKey
    from gatepost.policy.oauth import TokenVerdict
    from gatepost.settings.model import Settings

__all__ = ["check"]

_COLUMNS = ("kid", "key", "algorithm")
_SHOWN = ("iss", "aud", "exp", "scope", "scp")


class _Found(NamedTuple):
    """The issuer's keys, and what a token is worth, None if none was given."""

    keys: tuple[IssuerKey, ...]
    verdict: TokenVerdict | None


@click.command()
@click.argument("name")
@click.option("--organization", default="", help="Needed where there are several it could be.")
@click.option("--token-stdin", is_flag=True, help="Also judge an access token, read from standard input.")
@config_option
@json_option
def check(name: str, organization: str, config: str | None, as_json: bool, *, token_stdin: bool) -> None:
    """Fetch the keys of the OAuth issuer NAME as a worker would, and show them; and judge a token.

    A token is judged as at a log-in, and the claims that decide are shown. It is kept nowhere.

    Exit codes: 0 there are keys, and the token logs a user in; 1 what the issuer says cannot be used, or the token is
    refused; 2 there is no such issuer, or trust anchors cannot be read; 3 the issuer could not be asked.
    """
    settings = settings_of(config)
    directory = stored_directory(settings)
    issuer: OauthIssuer = choose_part(directory.resources, ISSUER, name, organization).record
    token = sys.stdin.read(TOKEN_OCTETS + 2).strip() if token_stdin else ""
    try:
        found = asyncio.run(_look(settings, directory, issuer, token))
    except HttpFailed as failed:
        fail(UNKNOWN if failed.temporary else NO, f"keys of {issuer.issuer}: {failed}{_advice(failed)}")
    except JwksError as error:
        fail(NO, f"keys of {issuer.issuer}: {error}")
    except AnchorsError as error:
        fail(BAD_INPUT, f"trust anchors for {issuer.issuer}: {error}")
    _print(found, _claims(issuer, token), as_json=as_json)
    if found.verdict is not None and not found.verdict.user:
        sys.exit(UNKNOWN if found.verdict.temporary else NO)


async def _look(settings: Settings, directory: Directory, issuer: OauthIssuer, token: str) -> _Found:
    resolver = resolver_of(settings)
    keys = IssuerKeys(resolver, settings.oauth, settings.tls.trust_anchors)
    try:
        fetched = await keys.fetch(issuer)
        return _Found(fetched, await judge_token(directory, keys, token, "") if token else None)
    finally:
        await keys.close()
        await resolver.close()


def _advice(failed: HttpFailed) -> str:
    if failed.forbidden:
        return "; write private_issuers = true under [oauth] if it is your own"
    return "; write trust_anchors if its authority is your own" if failed.untrusted else ""


def _claims(issuer: OauthIssuer, token: str) -> dict[str, Any]:
    """The claims that decide, as the token has them."""
    if not token:
        return {}
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}
    return {name: claims[name] for name in (*_SHOWN, issuer.username_claim) if name in claims}


def _print(found: _Found, claims: dict[str, Any], *, as_json: bool) -> None:
    rows = [(key.id, type(key.key).__name__.removesuffix("PublicKey"), key.algorithm) for key in found.keys]
    verdict = found.verdict
    if as_json:
        keys = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        judged = {"user": verdict.user, "reason": verdict.reason, "claims": claims} if verdict else None
        print_json({"keys": keys, "token": judged})
        return
    print_table(_COLUMNS, [(row[0] or "-", row[1], row[2] or "any") for row in rows])
    for name, value in claims.items():
        click.echo(f"{name}: {printable(str(value))}")
    if verdict is not None:
        click.echo(f"logs in {verdict.user}" if verdict.user else f"refused: {verdict.reason}")
