{#- Takes away from this node what `dns` has put there, the last part first: names are resolved as before. A resolver is
    removed only if `dns` installed it. Otherwise it is restarted without our part of its configuration. -#}
{%- set now, before, link = '/etc/resolv.conf', '/etc/resolv.conf.before-saltdeploy', '/etc/resolv.conf.link-before-saltdeploy' %}
{%- set resolvers = {
    'dnsmasq': '/etc/dnsmasq.d/saltdeploy.conf',
    'unbound': '/etc/unbound/unbound.conf.d/saltdeploy.conf',
    'systemd-resolved': '/etc/systemd/resolved.conf.d/saltdeploy.conf',
} %}
{%- set stub = salt['file.is_link'](now) and salt['file.readlink'](now) == '/run/systemd/resolve/stub-resolv.conf' %}
{%- if salt['file.contains'](now, 'Written by saltdeploy') or (stub and salt['file.file_exists'](resolvers['systemd-resolved'])) %}
saltdeploy resolv.conf is as before:
{%- if salt['file.is_link'](link) %}
  file.rename:
    - name: {{ now }}
    - source: {{ link }}
    - force: true
{%- elif salt['file.file_exists'](before) %}
  file.rename:
    - name: {{ now }}
    - source: {{ before }}
    - force: true
{%- else %}
  file.absent:
    - name: {{ now }}
{%- endif %}
    - failhard: true
{%- endif %}

saltdeploy resolv.conf files:
  file.absent:
    - names: {{ [before, link] | json }}

saltdeploy recursors:
  file.absent:
    - name: /etc/consul.d/recursors.json

saltdeploy recursors are forgotten:
  module.run:
    - service.reload:
      - name: consul
    - onlyif: systemctl is-active --quiet consul
    - onchanges:
      - file: saltdeploy recursors
{%- for name, config in resolvers.items() %}
{%- set installed = '/var/lib/saltdeploy-installed-' ~ name %}
{%- if salt['file.file_exists'](installed) %}

saltdeploy {{ name }} is stopped:
  service.dead:
    - name: {{ name }}
    - enable: false
    - failhard: true

{#- Before the package, which removes its folder if it is empty. #}
saltdeploy {{ name }} configuration:
  file.absent:
    - name: {{ config }}
    - failhard: true

saltdeploy {{ name }} is removed:
  pkg.purged:
    - name: {{ name }}
    - failhard: true

saltdeploy {{ name }} files:
  file.absent:
    - name: {{ installed }}
{%- elif salt['file.file_exists'](config) %}

saltdeploy {{ name }} configuration:
  file.absent:
    - name: {{ config }}
    - failhard: true

saltdeploy {{ name }} runs on:
  service.running:
    - name: {{ name }}
    - watch:
      - file: saltdeploy {{ name }} configuration
{%- endif %}
{%- endfor %}
