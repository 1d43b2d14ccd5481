"""Built-in icf plugin `scheduler`: learning-rate schedules, each with an optional warm-up."""
