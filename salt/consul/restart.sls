{#- Restart the agent, and wait until it is back and users find this node's instances again: for a new version, or a
    setting that a reload does not take in.
    One node after the other, servers first: salt -b 1 -L … state.apply consul.restart -#}
restart of consul:
  module.run:
    - service.restart:
      - name: consul

the restarted agent:
  discovery.ready:
    - passing: true
    - require:
      - module: restart of consul
