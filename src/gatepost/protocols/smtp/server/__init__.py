"""The server's side of SMTP: octets in, events and replies out."""
