"""The settings of TLS reports (RFC 8460): the table `[tls_reports]`. A part of `settings.model`, read with it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.connectors.fields import Form, Range, Record, Whole
from gatepost.settings.addresses import address_or_none

__all__ = ["TlsReports"]


class TlsReports(Record):
    """Reports that others send about their connections to us (docs/tls-reporting.md)."""

    address: Annotated[str, AfterValidator(address_or_none), Form('"host:port" or "[v6]:port"; empty: not served')] = (
        Field(
            default="",
            description="Where reports are taken over HTTPS, at https://HOSTNAME/tls-reports: for _smtp._tls records "
            "with rua=https:. It may be the address of [mta_sts] or [certificate_table].",
        )
    )
    days: Annotated[Whole, Range(0, 3650)] = Field(
        default=400, description="For how many days received reports are kept; 0 for ever."
    )
