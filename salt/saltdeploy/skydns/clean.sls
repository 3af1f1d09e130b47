{#- Takes SkyDNS away from this node, if `saltdeploy.skydns` set it up there: the health agent, CoreDNS and etcd. The
    package of etcd stays. The data of a member stay, unless pillar={"saltdeploy": {"remove_server_data": true}} comes
    with the job. Who runs this again after an interruption finds the unit, and goes on. -#}
{%- set remove = (pillar.get('saltdeploy') or {}).get('remove_server_data') %}
{%- set parts = {
    'saltdeploy-health': ['/etc/saltdeploy/health.json', '/var/lib/saltdeploy-health', '/usr/local/lib/saltdeploy-health'],
    'coredns': ['/etc/coredns/Corefile'],
    'etcd': ['/etc/etcd/saltdeploy.json', '/etc/etcd/tls/node.pem', '/etc/etcd/tls/node.key'],
} %}
{%- set folders = {'coredns': ['/etc/coredns', '/opt/coredns'], 'etcd': ['/etc/etcd/tls']} %}
{%- set data = '/var/lib/etcd/saltdeploy' %}
{%- set kept = data ~ '/.kept-by-saltdeploy' %}
{%- if remove %}
{%- do parts['etcd'].append(data) %}
{%- endif %}
{%- set program = '/usr/local/bin/coredns' %}
{%- if salt['file.is_link'](program) and salt['file.readlink'](program).startswith('/opt/coredns/') %}
{%- do parts['coredns'].append(program) %}
{%- endif %}
{%- if salt['file.directory_exists']('/opt/coredns') %}
{%- for version in salt['file.readdir']('/opt/coredns') if version | regex_match('([0-9]+[.][0-9]+[.][0-9]+.*)') %}
{%- do parts['coredns'].append('/opt/coredns/' ~ version) %}
{%- endfor %}
{%- endif %}
{%- set conf = salt['config.get']('saltdeploy:supervisord:include', '/etc/supervisor/conf.d') ~ '/saltdeploy-health.conf' %}
{%- if salt['file.contains'](conf, 'Written by saltdeploy') %}
saltdeploy-health program is stopped:
  cmd.run:
    - name: supervisorctl stop saltdeploy-health
    - onlyif: supervisorctl status saltdeploy-health | grep -Eq ' (RUNNING|STARTING|BACKOFF) '
    - failhard: true

saltdeploy-health program files:
  file.absent:
    - names: {{ parts['saltdeploy-health'] | json }}
    - failhard: true

saltdeploy-health program user:
  user.absent:
    - name: saltdeploy-health
    - failhard: true

saltdeploy-health program unit:
  file.absent:
    - name: {{ conf }}

saltdeploy-health program is forgotten:
  cmd.run:
    - name: supervisorctl update saltdeploy-health
    - onchanges:
      - file: saltdeploy-health program unit
{%- endif %}
{%- for name, files in parts.items() %}
{%- set unit = '/etc/systemd/system/' ~ name ~ '.service' %}
{%- if salt['file.contains'](unit, 'Written by saltdeploy') %}
saltdeploy {{ name }} is stopped:
  service.dead:
    - name: {{ name }}
    - enable: false
    - failhard: true

saltdeploy {{ name }} files:
  file.absent:
    - names: {{ files | json }}
    - failhard: true
{%- for folder in folders.get(name, []) if salt['file.directory_exists'](folder) %}

saltdeploy {{ name }} folder {{ folder }}:
  cmd.run:
    - name: rmdir --ignore-fail-on-non-empty {{ folder }}
    - failhard: true
{%- endfor %}
{%- if name != 'etcd' %}

saltdeploy {{ name }} user:
  user.absent:
    - name: {{ name }}
    - failhard: true
{%- elif not remove and salt['file.directory_exists'](data) %}

{{ kept }}:
  file.managed:
    - contents: The unit of this etcd is removed. With `remove_server_data`, saltdeploy.skydns.clean removes its data, too.

saltdeploy etcd data:
  test.show_notification:
    - text: {{ 'The data of this member of etcd stay in ' ~ data ~ '. They have the record and the history of all deployments.' }}
{%- endif %}

saltdeploy {{ name }} unit:
  file.absent:
    - name: {{ unit }}

saltdeploy {{ name }} unit is forgotten:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: saltdeploy {{ name }} unit
{%- elif name == 'etcd' and remove and salt['file.file_exists'](kept) and not salt['service.status']('etcd') %}
saltdeploy etcd data that were kept:
  file.absent:
    - name: {{ data }}
{%- else %}
{{ name }} was not set up by saltdeploy:
  test.nop
{%- endif %}
{%- endfor %}

saltdeploy etcd ca:
  file.absent:
    - name: /etc/saltdeploy/etcd-ca.pem
