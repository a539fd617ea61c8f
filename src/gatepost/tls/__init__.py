"""What TLS may negotiate, what it proved, and whose names a certificate bears. Pure."""
