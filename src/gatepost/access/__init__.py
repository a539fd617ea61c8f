"""Who may do what in the admin centre and over REST: users, roles, sessions, API tokens, the record of their deeds."""
