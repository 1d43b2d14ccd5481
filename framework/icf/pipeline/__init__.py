"""The stages of a run, plain functions over a Plan: check, prepare, split, fit, ensemble, submission, report."""
