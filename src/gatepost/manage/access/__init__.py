"""Users, roles, sessions, API tokens, passkeys and the audit log of the admin centre and REST."""
