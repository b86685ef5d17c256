"""Where jobs are kept: each module is one broker."""
