"""Programs around the toolkit that no production run needs: a local Kafka, the demo, checks."""
