"""The fields of an organization about its quarantine, for `policy.connectors.records`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Range, Switch, Whole


class QuarantineRelease(StrEnum):
    """The people who may release messages from an organization's quarantine."""

    ADMINISTRATORS = "administrators"
    GATEWAY = "gateway"


QuarantineDays = Annotated[
    Whole,
    Range(1, 30),
    Field(
        description="How many days messages stay in the organization's quarantine before the gateway deletes them "
        "(docs/quarantine.md). It applies to messages that arrive from now on."
    ),
]
QuarantineReleaseField = Annotated[
    QuarantineRelease,
    Field(
        description="Who may release messages from the organization's quarantine. administrators: also the "
        "organization's own administrators and operators. gateway: only administrators and operators of the whole "
        "gateway, and only they can change this back."
    ),
]
QuarantineDigest = Annotated[
    Switch,
    Field(description="Once a day, send each mailbox a message that lists what is new in quarantine for it."),
]
