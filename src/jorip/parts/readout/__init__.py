"""What is read from the last hidden rows: the thing on top."""
