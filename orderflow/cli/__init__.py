"""What a command-line program needs, whatever it does.

To read: run (from the arguments to the exit code), signals (asked to stop), terminal and status (what a
person sees), values (text to value, for settings and flags), private_file.
"""
