"""The engine for several nodes: everything stored lies in PostgreSQL, and any node may take over from any other."""
