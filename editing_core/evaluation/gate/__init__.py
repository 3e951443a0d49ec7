"""The parts of the checks: which neighbours are asked, what an edit's report says, and the verdict."""
