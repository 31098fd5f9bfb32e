"""Approximate SQL over model predictions, with guaranteed recall and precision."""
