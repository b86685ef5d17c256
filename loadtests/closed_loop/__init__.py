"""A stampede on a site that slows down when many ask it at once, behind a gate whose closed loop has to find out how many it carries."""
