"""The producer's parts, and producer.py itself."""
