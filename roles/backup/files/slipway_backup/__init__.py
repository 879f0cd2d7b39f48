"""The parts of backup.py: rules that are pure, and what touches the host, the database, and the places elsewhere."""
