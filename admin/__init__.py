"""The staff door: SQLAdmin's generated pages, every write of which goes through ``bookit.records``."""
