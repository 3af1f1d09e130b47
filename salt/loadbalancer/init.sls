{#- HAProxy before every app that asks for it with `frontend`, following Consul. -#}
include:
  - loadbalancer.package
  - loadbalancer.config
  - loadbalancer.service
