{#- The program: from the master's file roots where it has it, else from where the environment says. -#}
{%- set consul = pillar['saltdeploy_consul'] %}
{%- set archive = 'consul_' ~ consul.version ~ '_linux_' ~ grains['osarch'] ~ '.zip' %}
{%- set folder = '/opt/consul/' ~ consul.version %}
{%- set releases = 'https://releases.hashicorp.com/consul/' ~ consul.version ~ '/' %}
{%- set own = 'consul/' ~ archive in salt['cp.list_master'](prefix='consul') %}
consul user:
  user.present:
    - name: consul
    - system: true
    - createhome: false
    - home: /var/lib/consul
    - shell: /usr/sbin/nologin

consul program:
  archive.extracted:
    - name: {{ folder }}
{%- if consul.source %}
    - source: {{ consul.source | replace('{version}', consul.version) | replace('{arch}', grains['osarch']) | json }}
{%- elif own %}
    - source: salt://consul/{{ archive }}
{%- else %}
    - source: {{ releases }}{{ archive }}
{%- endif %}
{%- if consul.sha256 %}
    - source_hash: {{ consul.sha256 | replace('{version}', consul.version) }}
{%- elif not (own or consul.source) %}
    - source_hash: {{ releases }}consul_{{ consul.version }}_SHA256SUMS
{%- endif %}
    - archive_format: zip
    - enforce_toplevel: false
    - if_missing: {{ folder }}/consul
  file.managed:
    - name: {{ folder }}/consul
    - mode: '0755'
    - replace: false
    - require:
      - archive: consul program

/usr/local/bin/consul:
  file.symlink:
    - target: {{ folder }}/consul
    - force: true
    - require:
      - file: consul program
