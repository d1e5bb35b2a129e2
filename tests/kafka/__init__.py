"""Clients, topics, reading."""
