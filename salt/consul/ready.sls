{#- What comes after it may ask Consul. -#}
this node's agent:
  discovery.ready:
    - require:
      - service: consul service
