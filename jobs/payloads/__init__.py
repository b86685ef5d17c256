"""How arguments and results travel in a job: checked against annotations, written as bytes, packed into a body."""
