"""TLS profiles, the facts of a handshake, and certificate names. No I/O."""
