{#- The health agent of a node, if its environment has SkyDNS: docs/howto/skydns. systemd runs it, or supervisord on a
    node without systemd. -#}
{%- set settings = salt['discovery.health_agent']() %}
{%- if settings %}
{%- set skydns = (pillar.environments.values() | first).discovery.skydns %}
{%- for secret in ('password', 'token') if skydns.get(secret) %}
{%- do settings.update({secret: skydns[secret]}) %}
{%- endfor %}
{%- set synced = salt['cp.list_master'](prefix='_utils/saltdeploy/health') %}
{%- set library = '/usr/local/lib/saltdeploy-health' %}
{%- set systemd = grains['init'] == 'systemd' %}
{%- set programs = salt['config.get']('saltdeploy:supervisord:include', '/etc/supervisor/conf.d') %}
{%- if pillar.get('saltdeploy_skydns') %}
include:
  - saltdeploy.skydns.etcd
{%- endif %}

saltdeploy health user:
  user.present:
    - name: saltdeploy-health
    - system: true
    - createhome: false
    - home: {{ settings.folder }}
    - shell: /usr/sbin/nologin

{{ settings.folder }}:
  file.directory:
    - user: saltdeploy-health
    - group: saltdeploy-health
    - mode: '0700'
    - require:
      - user: saltdeploy health user

/etc/saltdeploy:
  file.directory:
    - mode: '0755'

/etc/saltdeploy/health.json:
  file.managed:
    - contents: {{ settings | json(indent=2, sort_keys=True) | json }}
    - user: root
    - group: saltdeploy-health
    - mode: '0640'
    - show_changes: false
    - require:
      - file: /etc/saltdeploy
      - user: saltdeploy health user
{%- if synced %}

{#- What Salt has synced is for root only. #}
{{ library }}/saltdeploy:
  file.recurse:
    - source: salt://_utils/saltdeploy
    - exclude_pat: '*__pycache__*'
    - dir_mode: '0755'
    - file_mode: '0644'
    - clean: true
    - require_in:
      - file: saltdeploy health unit
{%- endif %}

saltdeploy health unit:
  file.managed:
{%- if systemd %}
    - name: /etc/systemd/system/saltdeploy-health.service
    - source: salt://saltdeploy/skydns/files/saltdeploy-health.service
{%- else %}
    - name: {{ programs }}/saltdeploy-health.conf
    - source: salt://saltdeploy/skydns/files/saltdeploy-health.conf
{%- endif %}
    - template: jinja
    - mode: '0644'
    - context:
        python: {{ salt['config.get']('saltdeploy:health_python', grains['pythonexecutable']) | json }}
        library: {{ (library if synced else '') | json }}
        folder: {{ settings.folder | json }}

{%- if systemd %}
saltdeploy health unit is read:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: saltdeploy health unit
{%- else %}
saltdeploy health unit is read:
  cmd.run:
    - name: supervisorctl update saltdeploy-health
    - onlyif: supervisorctl reread | grep -q '^saltdeploy-health:'
    - require:
      - file: saltdeploy health unit

saltdeploy-health is restarted:
  cmd.run:
    - name: supervisorctl restart saltdeploy-health
    - onchanges:
      - file: /etc/saltdeploy/health.json
{%- if synced %}
      - file: {{ library }}/saltdeploy
{%- endif %}
    - require:
      - cmd: saltdeploy health unit is read
{%- if pillar.get('saltdeploy_skydns') %}
      - etcd_access: saltdeploy etcd is ready
{%- endif %}
{%- endif %}

{#- A restart leaves no gap: its lease, and so the records, live on meanwhile. #}
saltdeploy-health:
{%- if systemd %}
  service.running:
    - enable: true
    - watch:
      - file: /etc/saltdeploy/health.json
      - file: saltdeploy health unit
{%- if synced %}
      - file: {{ library }}/saltdeploy
{%- endif %}
    - require:
      - module: saltdeploy health unit is read
{%- else %}
  cmd.run:
    - name: supervisorctl start saltdeploy-health
    - unless: supervisorctl status saltdeploy-health | grep -Eq ' (RUNNING|STARTING) '
    - require:
      - cmd: saltdeploy-health is restarted
{%- endif %}
      - file: {{ settings.folder }}
{%- if pillar.get('saltdeploy_skydns') %}
      - etcd_access: saltdeploy etcd is ready
{%- endif %}
{%- else %}
{{ grains.id }} has no health agent:
  test.nop
{%- endif %}
