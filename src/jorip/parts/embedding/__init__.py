"""What turns inputs into rows."""
