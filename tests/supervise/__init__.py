"""Several processes as one command, without a broker."""
