"""Plans: the steps from the observed state to the desired state. Pure."""
