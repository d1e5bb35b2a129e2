"""Several consumers as one command: started, restarted when they die, stopped together, shown as one.

Reading order: supervisor (the decisions), endings and restarts (why a process ended, and when its successor
starts), crew (the processes themselves), output (what they print), report and link (what a consumer tells its
supervisor, and how).
"""
