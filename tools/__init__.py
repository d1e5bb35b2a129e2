"""Programs around the toolkit that production does not need: a local Kafka, the demo, checks."""
