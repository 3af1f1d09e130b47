{#- CoreDNS on this node, on the port that Consul's DNS has otherwise. It serves the domain from etcd, and asks the name
    servers that the node had for all other names. The program is from the master's file roots where it has it, else
    from where the environment says. -#}
{%- set skydns = pillar['saltdeploy_skydns'] %}
{%- set login = (pillar.environments.values() | first).discovery.skydns %}
{%- set domain = salt['discovery.health_agent']().domain %}
{%- set recursors = salt['discovery.recursors']() %}
{%- set archive = 'coredns_' ~ skydns.version ~ '_linux_' ~ grains['osarch'] ~ '.tgz' %}
{%- set folder = '/opt/coredns/' ~ skydns.version %}
{%- set releases = 'https://github.com/coredns/coredns/releases/download/v' ~ skydns.version ~ '/' %}
{%- set own = 'coredns/' ~ archive in salt['cp.list_master'](prefix='coredns') %}
include:
  - saltdeploy.skydns.etcd

coredns user:
  user.present:
    - name: coredns
    - system: true
    - createhome: false
    - home: /nonexistent
    - shell: /usr/sbin/nologin

coredns program:
  archive.extracted:
    - name: {{ folder }}
{%- if skydns.source %}
    - source: {{ skydns.source | replace('{version}', skydns.version) | replace('{arch}', grains['osarch']) | json }}
{%- elif own %}
    - source: salt://coredns/{{ archive }}
{%- else %}
    - source: {{ releases }}{{ archive }}
{%- endif %}
{%- if skydns.sha256 %}
    - source_hash: {{ skydns.sha256 | replace('{version}', skydns.version) | replace('{arch}', grains['osarch']) }}
{%- elif not (own or skydns.source) %}
    - source_hash: {{ releases }}{{ archive }}.sha256
{%- endif %}
    - archive_format: tar
    - enforce_toplevel: false
    - if_missing: {{ folder }}/coredns
  file.managed:
    - name: {{ folder }}/coredns
    - user: root
    - group: root
    - mode: '0755'
    - replace: false
    - require:
      - archive: coredns program

/usr/local/bin/coredns:
  file.symlink:
    - target: {{ folder }}/coredns
    - force: true
    - require:
      - file: coredns program

/etc/coredns:
  file.directory:
    - user: root
    - group: coredns
    - mode: '0750'
    - require:
      - user: coredns user

/etc/coredns/Corefile:
  file.managed:
    - contents: |
        # Written by saltdeploy; changes are lost.
        {{ domain }}:8600 {
            bind 127.0.0.1
            etcd {
                path /skydns
                endpoint {{ login.etcd | join(' ') }}
                tls {{ login.ca }}
                credentials {{ skydns.dns.user }} {{ skydns.dns.password }}
            }
            rewrite stop name regex ^(.*)_([^.]+)\._tcp\.(.+)\.$ {1}{2}.{3} answer auto
            errors
        }
{%- if recursors %}
        .:8600 {
            bind 127.0.0.1
            forward . {{ recursors | join(' ') }}
            errors
        }
{%- endif %}
    - user: root
    - group: coredns
    - mode: '0640'
    - show_changes: false
    - require:
      - file: /etc/coredns

coredns unit:
  file.managed:
    - name: /etc/systemd/system/coredns.service
    - source: salt://saltdeploy/skydns/files/coredns.service
    - mode: '0644'

coredns unit is read:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: coredns unit

{#- It logs in when it starts, so etcd must know its user by then. #}
coredns service:
  service.running:
    - name: coredns
    - enable: true
    - require:
      - etcd_access: saltdeploy etcd is ready
      - module: coredns unit is read
    - watch:
      - file: /usr/local/bin/coredns
      - file: /etc/coredns/Corefile
      - file: coredns unit
