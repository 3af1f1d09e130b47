# For the master: it takes the lock, writes the record and the history, and publishes nothing itself.
service_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
# The session of the lock belongs to the agent, or the server, that the master asks.
session_prefix "" {
  policy = "write"
}
# Read to see whether Consul works.
key "deploy/" {
  policy = "read"
}
# The record, the lock and the history of this environment.
key_prefix "deploy/production/" {
  policy = "write"
}
