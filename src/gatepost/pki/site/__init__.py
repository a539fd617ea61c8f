"""A site of several nodes: its authority, enrollment of nodes, membership, credentials."""
