"""LDAP (RFC 4511) as far as a directory is asked whether an address exists: requests, answers and filters. Pure."""
