"""What is tried out before mail depends on it: a connector validated, a connector drilled."""
