"""Re-measures gpt-oss where a public write-up did, and says of each of its claims whether it holds."""
