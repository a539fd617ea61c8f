"""Accepted domains of another gateway proved by their TXT records, which that gateway looks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.change import outcome_of
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.parts import DOMAIN
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.change import Outcome, Wish


def domain_verification(connection: Connection, name: str, organization: str = "") -> dict[str, Any]:
    """As `manage.use_cases.domain_verification.domain_verification`."""
    found: dict[str, Any] = connection.get(f"{_path(connection, name, organization)}/verification").value
    return found


def verify_domain(connection: Connection, name: str, organization: str, wish: Wish) -> Outcome:
    """As `manage.use_cases.domain_verification.verify_domain`."""
    query = {"dry_run": wish.dry_run, "note": wish.note, "since": time_text(wish.since) if wish.dry_run else ""}
    path = f"{_path(connection, name, organization)}/verify"
    try:
        return outcome_of(connection.call("POST", path, query=query, body=None, if_match="*").value)
    except Refusal as refusal:
        if refusal.kind is Kind.BLOCKED:  # nothing there is a name that is taken
            raise Refusal(Kind.CONFLICT, refusal.text, refusal.errors, more=refusal.more) from refusal
        raise


def _path(connection: Connection, name: str, organization: str) -> str:
    part = choose_part(FetchedGateway(connection).directory().resources, DOMAIN, name, organization)
    return "/".join(("/organizations", quote(part.organization.name, safe=""), "domains", quote(part.name, safe="")))
