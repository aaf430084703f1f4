"""BookIt beside what limits it and beside the way most would build it, on one server and in one run."""
