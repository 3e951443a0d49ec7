"""Takes a job, runs the editing core, publishes a version."""
