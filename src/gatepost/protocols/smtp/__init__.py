"""The SMTP protocol, both sides, sans-IO."""
