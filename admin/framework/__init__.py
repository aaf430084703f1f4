"""What every page of the staff door is made of. Knows no subject."""
