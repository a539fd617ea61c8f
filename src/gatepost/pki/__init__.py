"""Certificates and keys: the gateway's own, ACME, the site's authority, S/MIME identities."""
