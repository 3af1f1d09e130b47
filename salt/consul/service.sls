{#- Kept running; what it can take in while it runs, it does. A restart is a decision: see consul.restart. -#}
consul unit:
  file.managed:
    - name: /etc/systemd/system/consul.service
    - source: salt://consul/files/consul.service
    - mode: '0644'

/var/lib/consul/.kept-by-saltdeploy:
  file.absent: []

consul unit is read:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: consul unit

consul service:
  service.running:
    - name: consul
    - enable: true
    - reload: true
    - require:
      - file: /usr/local/bin/consul
      - file: /var/lib/consul
      - module: consul unit is read
    - watch:
      - file: /etc/consul.d/consul.json
      - file: /etc/consul.d/tls/ca.pem
      - file: /etc/consul.d/tls/node.pem
      - file: /etc/consul.d/tls/node.key
