"""The stages of a run, plain functions over a Plan: check, prepare, split, embed, fit, ensemble, submission, report."""
