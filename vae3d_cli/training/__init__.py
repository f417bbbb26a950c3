"""Fitting the embedded model."""
