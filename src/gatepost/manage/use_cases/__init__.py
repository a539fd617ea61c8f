"""What an administrator does, by whichever interface: look, try out, change. It prints nothing."""
