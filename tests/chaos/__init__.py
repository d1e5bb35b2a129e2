"""The long tests: kills, lost brokers, storms."""
