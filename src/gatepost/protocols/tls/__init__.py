"""What TLS may negotiate, what a handshake proved, and the names that a certificate bears. No I/O."""
