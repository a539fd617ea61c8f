"""What an administrator does, whichever door it comes through: look, try out, change. Values and refusals, no output."""
