"""Every reply that the gateway gives or records, with its cause and cure. Pure."""
