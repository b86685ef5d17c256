"""Cron jobs: what their lines mean, how their definitions get into the store, and who enqueues their ticks."""
