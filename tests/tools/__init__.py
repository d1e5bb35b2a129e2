"""Tools, documents, examples and benchmarks: the project beside its programs."""
