"""Server settings: every key, its type, default and meaning, and how they are read."""
