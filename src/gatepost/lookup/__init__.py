"""What DNS knows: questions, answers and where a domain takes its mail."""
