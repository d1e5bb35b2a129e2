"""Speed, latency and memory, measured on a local Kafka: `make bench`."""
