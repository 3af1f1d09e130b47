{#- Takes away from this node what `loadbalancer` has put there, the last part first. HAProxy itself is removed only if
    `loadbalancer.package` installed it, and nobody has replaced our configuration since. -#}
{%- set config, installed = '/etc/haproxy/haproxy.cfg', '/var/lib/saltdeploy-installed-haproxy' %}
{%- set before = config ~ '.before-saltdeploy' %}
{%- set ours = salt['file.contains'](config, 'Written by saltdeploy') %}
{%- set files = [before, installed] %}
{%- if salt['file.file_exists'](installed) and (ours or not salt['file.file_exists'](config)) %}
saltdeploy haproxy is stopped:
  service.dead:
    - name: haproxy
    - enable: false
    - failhard: true

{#- Before the package, which removes its folder if it is empty. #}
saltdeploy haproxy configuration:
  file.absent:
    - names: {{ [config, before] | json }}
    - failhard: true

saltdeploy haproxy is removed:
  pkg.purged:
    - name: haproxy
    - failhard: true
{%- elif ours and salt['file.file_exists'](before) %}
saltdeploy haproxy has its own configuration:
  file.rename:
    - name: {{ config }}
    - source: {{ before }}
    - force: true
    - failhard: true

saltdeploy haproxy runs on:
  service.running:
    - name: haproxy
    - reload: true
    - watch:
      - file: saltdeploy haproxy has its own configuration
{%- elif ours %}
{%- set files = [config, before, installed] %}
saltdeploy haproxy is stopped:
  service.dead:
    - name: haproxy
    - enable: false
    - failhard: true
{%- endif %}

saltdeploy haproxy files:
  file.absent:
    - names: {{ files | json }}
