"""Lookups: DNS, HTTP, MTA-STS policies, TLSA records, revocation, scanners, issuers' keys, and their caches."""
