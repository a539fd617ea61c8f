"""What an administrator does, whichever door it comes through: look, try out, change. It prints nothing."""
