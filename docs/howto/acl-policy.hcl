# For master and nodes. One pair of `service` rules for each app; `service_prefix ""` for all there will ever be.
service "shop" {
  policy = "write"
}
service "shop-candidate" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
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
