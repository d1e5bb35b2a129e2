"""What any command-line program needs, whatever it does.

Reading order: run (from arguments to exit code), signals (requests to stop), terminal and status (what the
user sees), values (parsing settings and flags), pager (long output), private_file.
"""
