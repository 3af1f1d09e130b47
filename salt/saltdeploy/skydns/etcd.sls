{#- etcd: its CA on each node, a member on the nodes with the role, and access control from the first member. Then this
    node waits until etcd lets it in. -#}
{%- set skydns = pillar['saltdeploy_skydns'] %}
{%- set environment, own = pillar.environments.items() | first %}
{%- set login = own.discovery.skydns %}
{%- set domain = salt['discovery.health_agent']().domain %}
saltdeploy etcd ca:
  file.managed:
    - name: /etc/saltdeploy/etcd-ca.pem
    - contents_pillar: saltdeploy_skydns:ca
    - makedirs: true
    - mode: '0644'
{%- if skydns.config is defined %}
{%- set config = dict(skydns.config) %}
{%- do config.update({'initial-cluster-state': salt['config.get']('saltdeploy:etcd_cluster_state', 'new')}) %}

{#- It stands before the unit of the package. The package starts etcd, which has no configuration of ours by then. #}
saltdeploy etcd unit:
  file.managed:
    - name: /etc/systemd/system/etcd.service
    - source: salt://saltdeploy/skydns/files/etcd.service
    - mode: '0644'

saltdeploy etcd program:
  pkg.installed:
    - pkgs: [etcd-server, etcd-client]
    - require:
      - file: saltdeploy etcd unit

/etc/etcd:
  file.directory:
    - user: root
    - group: etcd
    - mode: '0750'
    - require:
      - pkg: saltdeploy etcd program

/etc/etcd/saltdeploy.json:
  file.managed:
    - contents: {{ config | json(indent=2, sort_keys=True) | json }}
    - user: root
    - group: etcd
    - mode: '0640'
    - require:
      - file: /etc/etcd
      - etcd_access: saltdeploy etcd may start
{%- for file, key in (('node.pem', 'certificate'), ('node.key', 'key')) %}

/etc/etcd/tls/{{ file }}:
  file.managed:
    - contents_pillar: saltdeploy_skydns:{{ key }}
    - user: root
    - group: etcd
    - mode: '0640'
    - makedirs: true
    - dir_mode: '0750'
    - show_changes: false
    - require:
      - file: /etc/etcd
    - require_in:
      - etcd_access: saltdeploy etcd may start
{%- endfor %}

{#- Before its configuration is there: the package has enabled the unit, which starts at the next boot otherwise. #}
saltdeploy etcd may start:
  etcd_access.startable:
    - name: {{ grains.id | json }}
    - config: {{ config | json }}
    - require:
      - file: saltdeploy etcd ca

saltdeploy etcd unit is read:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: saltdeploy etcd unit

{#- A restart is a decision, because the other members must be up. etcd reads a new certificate by itself. #}
saltdeploy etcd service:
  service.running:
    - name: etcd
    - enable: true
    - require:
      - file: saltdeploy etcd ca
      - file: /etc/etcd/saltdeploy.json
      - module: saltdeploy etcd unit is read
    - require_in:
      - etcd_access: saltdeploy etcd is ready
{%- endif %}
{%- if skydns.root is defined %}

saltdeploy etcd access control:
  etcd_access.present:
    - name: https://127.0.0.1:2379
    - password: {{ skydns.root | json }}
    - roles: {{ salt['discovery.etcd_rights']() | json }}
    - passwords: {{ skydns.passwords | json }}
    - environment: {{ environment | json }}
    - domain: {{ domain | json }}
    - ca: /etc/saltdeploy/etcd-ca.pem
    - require:
      - service: saltdeploy etcd service
    - require_in:
      - etcd_access: saltdeploy etcd is ready
{%- endif %}

saltdeploy etcd is ready:
  etcd_access.ready:
    - name: {{ login.user | json }}
    - urls: {{ login.etcd | json }}
    - password: {{ login.password | json }}
    - ca: {{ login.ca | json }}
    - key: /saltdeploy/{{ environment }}/agents/{{ grains.id }}
    - require:
      - file: saltdeploy etcd ca
