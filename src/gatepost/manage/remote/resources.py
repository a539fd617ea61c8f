"""The resources of another gateway, fetched whole, to find what a name means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.prefix_limits import PrefixLimits

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import RestConnection


def fetched_directory(connection: RestConnection) -> Directory:
    """The resources of another gateway. Raises Refusal."""
    answer = connection.get("/resources")
    try:
        # How wide a network may be was checked there, against the settings there.
        resources = parse({"organization": answer.value["organization"]}, prefixes=PrefixLimits(0, 0))
    except ResourceErrors as errors:
        text = f"{connection.url}: its resources cannot be used by this version of the command: {errors}"
        raise Refusal(RefusalKind.UNREADABLE, text) from errors
    return Directory(resources, int(answer.etag.strip('"').removeprefix("v")))
