"""The server process: application, commands, runner and logs. Of the packages, only seed and migrations import it."""
