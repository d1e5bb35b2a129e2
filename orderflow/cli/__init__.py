"""What any command-line program needs, whatever it does.

Reading order: run (from arguments to exit code), arguments (the parser of flags), typed_secrets (what it
never repeats), output (the one way out for text), script_events (what there is to say), json_notes (the
same for machines), pager (long output), signals (requests to stop), exit_limit (what holds up the exit),
quick_end (the end of the process), status (progress), outage (Kafka is lost, and back), terminal, log,
values (parsing settings and flags), given_file (one to read), private_file (one to write), command, port
and exposition (what Prometheus sees).
"""
