"""What a command-line program needs, and settings."""
