"""A queue a million jobs deep: what each script costs the server then, and what is left in memory when they have gone."""
