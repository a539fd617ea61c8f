"""Configurations of other mail servers read as resources: Exchange, Postfix."""
