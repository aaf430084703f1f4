"""Read-only figures: reports, dashboard and calendar. Writes nothing."""
