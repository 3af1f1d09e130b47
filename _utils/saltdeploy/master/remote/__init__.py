"""Salt jobs on nodes, and whether their answers are right."""
