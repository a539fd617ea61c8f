"""Messages: header fields (RFC 5322), trace fields (RFC 5321), delivery status notifications (RFC 3464)."""
