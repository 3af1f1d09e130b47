{#- Its configuration and its certificate; the secrets in them are root's and Consul's. -#}
{%- set consul = pillar['saltdeploy_consul'] %}
/etc/consul.d:
  file.directory:
    - user: root
    - group: consul
    - mode: '0750'
    - require:
      - user: consul user

/var/lib/consul:
  file.directory:
    - user: consul
    - group: consul
    - mode: '0700'
    - require:
      - user: consul user

/etc/consul.d/consul.json:
  file.managed:
    - contents: {{ consul.config | json(indent=2, sort_keys=True) | json }}
    - user: root
    - group: consul
    - mode: '0640'
    - show_changes: false
    - require:
      - file: /etc/consul.d

{%- for file, key in (('ca.pem', 'ca'), ('node.pem', 'certificate'), ('node.key', 'key')) %}

/etc/consul.d/tls/{{ file }}:
  file.managed:
    - contents_pillar: saltdeploy_consul:{{ key }}
    - user: root
    - group: consul
    - mode: '0640'
    - makedirs: true
    - dir_mode: '0750'
    - show_changes: false
    - require:
      - file: /etc/consul.d
{%- endfor %}
