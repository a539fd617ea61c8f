"""What somebody must be told of: raised, kept in mind, sent, and over."""
