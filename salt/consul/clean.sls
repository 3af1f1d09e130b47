{#- Takes Consul away from this node, if `consul` set it up there: it leaves the cluster, then its parts go, the unit
    last. Who runs this again after an interruption finds the unit, and goes on. The data of a server stay, unless
    pillar={"saltdeploy": {"remove_server_data": true}} comes with the job. With "whole_consul", all nodes are taken away
    at once, so no agent leaves the others. -#}
{%- set unit, data, program = '/etc/systemd/system/consul.service', '/var/lib/consul', '/usr/local/bin/consul' %}
{%- if salt['file.contains'](unit, 'Written by saltdeploy') %}
{%- set own = ['/etc/consul.d/consul.json', '/etc/consul.d/leave.json', '/etc/consul.d/recursors.json'] %}
{%- for file in ('ca.pem', 'node.pem', 'node.key') %}
{%- do own.append('/etc/consul.d/tls/' ~ file) %}
{%- endfor %}
{%- if salt['file.is_link'](program) and salt['file.readlink'](program).startswith('/opt/consul/') %}
{%- do own.append(program) %}
{%- endif %}
{%- if salt['file.directory_exists']('/opt/consul') %}
{%- for version in salt['file.readdir']('/opt/consul') if version | regex_match('([0-9]+[.][0-9]+[.][0-9]+.*)') %}
{%- do own.append('/opt/consul/' ~ version) %}
{%- endfor %}
{%- endif %}
{%- set keep = salt['file.directory_exists'](data ~ '/raft') and not (pillar.get('saltdeploy') or {}).get('remove_server_data') %}
{%- if not (pillar.get('saltdeploy') or {}).get('whole_consul') %}
saltdeploy consul has left:
  discovery.left:
    - failhard: true
{%- endif %}

saltdeploy consul is stopped:
  service.dead:
    - name: consul
    - enable: false
    - failhard: true

saltdeploy consul files:
  file.absent:
    - names: {{ own | json }}
    - failhard: true
{%- for folder in ('/etc/consul.d/tls', '/etc/consul.d', '/opt/consul') if salt['file.directory_exists'](folder) %}

saltdeploy consul folder {{ folder }}:
  cmd.run:
    - name: rmdir --ignore-fail-on-non-empty {{ folder }}
    - failhard: true
{%- endfor %}
{%- if keep %}

/var/lib/consul/.kept-by-saltdeploy:
  file.managed:
    - contents: The unit of this Consul is removed. With `remove_server_data`, consul.clean removes this folder, too.

saltdeploy consul data:
  test.show_notification:
    - text: {{ 'The data of this Consul server stay in ' ~ data ~ ', and so does the user consul. They have the record and the history of all deployments.' }}
{%- else %}

saltdeploy consul data:
  file.absent:
    - name: {{ data }}
    - failhard: true

saltdeploy consul user:
  user.absent:
    - name: consul
    - failhard: true
{%- endif %}

saltdeploy consul unit:
  file.absent:
    - name: {{ unit }}

saltdeploy consul unit is forgotten:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: saltdeploy consul unit
{%- elif salt['file.file_exists'](data ~ '/.kept-by-saltdeploy') and (pillar.get('saltdeploy') or {}).get('remove_server_data') and not salt['service.status']('consul') %}
saltdeploy consul data that were kept:
  file.absent:
    - name: {{ data }}

saltdeploy consul user:
  user.absent:
    - name: consul
{%- else %}
Consul was not set up by saltdeploy:
  test.nop
{%- endif %}
