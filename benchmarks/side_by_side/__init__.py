"""BookIt beside reference servers and a typical implementation, measured in one run on one machine."""
