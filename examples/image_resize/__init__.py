"""Images made smaller by workers: jobs that carry a megabyte, and results that are waited for."""
