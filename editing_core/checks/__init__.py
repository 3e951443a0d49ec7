"""The checks of a candidate: the measurements, the limits and the verdict."""
