"""Jobs that follow from jobs: chains, groups, chords and splits, and how they are handed over between queues."""
