"""Weights from other runs."""
