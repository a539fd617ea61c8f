"""DomainKeys Identified Mail: signatures of messages (RFC 6376, RFC 8463) and the records that publish keys."""
