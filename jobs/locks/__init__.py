"""Named locks: what holds them, what keeps them, and how a job holds one."""
