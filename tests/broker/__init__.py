"""The scripts as black boxes, against a real Kafka."""
