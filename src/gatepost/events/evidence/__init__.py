"""The evidence log: entries, the chain of hashes that binds them, daily heads, exports with their proof. No I/O."""
