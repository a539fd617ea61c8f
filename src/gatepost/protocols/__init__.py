"""Mail protocols as values and state machines: SMTP, TLS facts, DANE, MTA-STS, TLS-RPT, DKIM, MIME. No I/O."""
