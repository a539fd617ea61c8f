"""Mail on its way out: routes, connections, attempts, and mailboxes of our own."""
