"""The pages and buttons of bookings. Rules live in bookit.bookings."""
