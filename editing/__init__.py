"""From two sentences to settings: what kind of change they ask for, and what suits that kind."""
