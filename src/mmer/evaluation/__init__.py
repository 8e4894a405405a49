"""Judging models: metrics, intervals, comparison, calibration, robustness, reports."""
