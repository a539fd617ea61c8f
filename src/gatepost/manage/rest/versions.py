"""Versions as entity tags: `ETag: "v17"`, and what If-Match and If-None-Match say of them (RFC 9110 section 13). Pure.

The tag is the version of the configuration, for all that is a resource: whoever read version 17 may change what is
still version 17. Strong, as one version has one text.
"""

from __future__ import annotations

import re

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"v{version}"'


def may_change(if_match: str, version: int) -> bool:
    """Whether If-Match lets what is of that version be changed: by "*", or by its tag. A weak tag never does."""
    return if_match.strip() == "*" or ("", f"v{version}") in _TAG.findall(if_match)


def is_known(if_none_match: str, version: int) -> bool:
    """Whether If-None-Match says that the client has this version already."""
    return if_none_match.strip() == "*" or f"v{version}" in (tag for _, tag in _TAG.findall(if_none_match))
