"""Tests: their names are the sentences."""
