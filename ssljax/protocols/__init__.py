"""A command on a run's checkpoint: one file for what each kind needs."""
