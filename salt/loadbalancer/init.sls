{#- HAProxy before every app that asks for it with `frontend`, following Consul or SkyDNS. -#}
include:
  - loadbalancer.package
  - loadbalancer.config
  - loadbalancer.service
