"""Built-in icf plugin `baseline`: runs model.py, loss.py and dataset.py of a folder named with --plugin."""
