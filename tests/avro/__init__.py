"""Bytes to orders and back."""
