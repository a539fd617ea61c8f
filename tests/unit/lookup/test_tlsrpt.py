from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.dns.text_record import RecordError
from gatepost.lookup.dns import LookupFailed, Resolver
from gatepost.lookup.nameservers import Nameservers
from gatepost.lookup.tlsrpt import report_record
from gatepost.tlsrpt.record import Record

RECORDS = {
    ("_smtp._tls.b.example", "TXT"): ['"v=TLSRPTv1; rua=mailto:tls@b.example,https://b.example/r"', '"other"'],
    ("_smtp._tls.bad.example", "TXT"): ['"v=TLSRPTv1; rua=ftp://b.example"'],
}
