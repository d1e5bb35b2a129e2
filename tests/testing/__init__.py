"""Tests of orderflow/testing."""
