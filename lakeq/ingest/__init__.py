"""Ingest by notification: messages about objects to rows in the lake, each object once."""
