"""After the folds: inference, ensembling, scores, the submission and the report."""
