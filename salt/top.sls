{#- What highstate does on a node of an environment: Consul or SkyDNS, and names first, then what its roles are for; an
    app's instances as the record has them. -#}
{%- set environment = (pillar.get('environments') or {}).values() | first | default({}, true) %}
{%- set roles = (environment.get('nodes') or {}).get(opts['id'], {}).get('roles') or [] %}
base:
  '*':
{%- if pillar.get('saltdeploy_consul') %}
    - consul
{%- endif %}
{%- if 'skydns' in (environment.get('discovery') or {}) %}
    - saltdeploy.skydns
{%- endif %}
{%- if pillar.get('saltdeploy_consul') or pillar.get('saltdeploy_skydns') %}
    - dns
{%- endif %}
{%- if 'loadbalancer' in roles %}
    - loadbalancer
{%- endif %}
    - app
