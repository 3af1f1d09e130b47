{#- What highstate does on a node of an environment: Consul and names first, then what its roles are for; an app's
    instances as the record has them. -#}
{%- set environment = (pillar.get('environments') or {}).values() | first | default({}, true) %}
{%- set roles = (environment.get('nodes') or {}).get(opts['id'], {}).get('roles') or [] %}
base:
  '*':
{%- if pillar.get('saltdeploy_consul') %}
    - consul
    - dns
{%- endif %}
{%- if 'loadbalancer' in roles %}
    - loadbalancer
{%- endif %}
    - app
