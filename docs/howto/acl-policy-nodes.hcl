# For the nodes: they publish their apps and read the record. One pair of `service` rules for each app.
service "shop" {
  policy = "write"
}
service "shop-candidate" {
  policy = "write"
}
service_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
# Read to see whether Consul works.
key "deploy/" {
  policy = "read"
}
# What is to run, by the record.
key_prefix "deploy/production/" {
  policy = "read"
}
