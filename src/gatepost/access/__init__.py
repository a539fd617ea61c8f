"""Who may do what in the admin centre and over REST: users, roles, sessions, API tokens, and the record of what they did."""
