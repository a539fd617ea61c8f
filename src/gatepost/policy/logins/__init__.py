"""Passwords and failed logins, of mailboxes as of administrators: hashing, and slowing down who guesses."""
