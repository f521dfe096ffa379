"""Kernels in the language of Triton, one file for each recurrence."""
