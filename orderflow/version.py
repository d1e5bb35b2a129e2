"""The version of the toolkit, by Semantic Versioning."""

VERSION = "1.0.0.dev0"
