"""Resources, and which connector a session or a message meets."""
