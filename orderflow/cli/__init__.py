"""What any command-line program needs, whatever it does.

Reading order: run (from arguments to exit code), signals (requests to stop), terminal and status (what the
user sees), log, values (parsing settings and flags), private_file, port and
exposition (what Prometheus sees).
"""
