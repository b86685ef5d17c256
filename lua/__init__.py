"""The Redis contract: every script, every key name, one typed wrapper a script."""
