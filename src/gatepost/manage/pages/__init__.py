"""The pages of the admin centre."""
