"""Formulas of continual learning and of single tasks."""
