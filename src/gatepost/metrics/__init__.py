"""What is counted, and the counting."""
