"""What mixes tokens inside a block: attention behind its shell, and what attention is compared with."""
