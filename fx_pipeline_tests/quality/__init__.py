"""Verdicts on rates."""
