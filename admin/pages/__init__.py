"""The pages that are not a table: dashboard, reports, search, opening hours, personal data, password."""
