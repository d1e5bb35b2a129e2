"""Tests: pure ones in milliseconds, the others on a real broker; `make test` runs all but the long ones."""
