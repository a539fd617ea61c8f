"""Mail on its way in: SMTP sessions, logins, content hooks, acceptance."""
