"""Tables, fields, SQL functions and triggers, and the way a database gets them. Holds no queries."""
