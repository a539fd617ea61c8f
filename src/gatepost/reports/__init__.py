"""What is kept and told of what happened."""
