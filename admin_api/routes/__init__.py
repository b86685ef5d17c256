"""The endpoints, one file for each thing that operators work on."""
