"""The master's side: the verbs of the runner, and the deployments that they carry out."""
