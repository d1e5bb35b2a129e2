"""The engine's parts, without a broker where it does not matter."""
