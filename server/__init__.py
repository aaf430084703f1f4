"""The server process: application, command line, runner and logs. Knows both doors; nothing imports it but seed."""
