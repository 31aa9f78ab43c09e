"""The bench: many episodes, kept in a run folder, counted honestly."""
