"""Readers that get any bytes: a result or a one-line error, never a crash, a hang or a large allocation."""
