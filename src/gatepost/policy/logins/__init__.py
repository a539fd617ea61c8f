"""Passwords and failed logins, of mailboxes and of administrators: hashing and throttling."""
