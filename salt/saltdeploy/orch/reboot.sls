{#- Reboot the machines of an environment, one zone at a time: evacuate, reboot, return. No client loses a request.
    The first failure ends it. The machines of that zone then stay out of use. The same command begins with them, and
    then reboots all others. To go on after them, name the other machines (nodes).

      salt-run state.orchestrate saltdeploy.orch.reboot pillar='{environment: production}'

    Further keys of pillar: nodes (only these), reason, services (True: clients may miss services that are no apps),
    apply (names of states that are applied to the evacuated machines before the reboot). -#}
{%- set env = pillar.get('environment') or raise("say the environment: pillar='{environment: production}'") %}
{%- set reason = pillar.get('reason', 'rolling reboot') %}
{%- set found = salt['saltutil.runner']('environment.zones', kwarg={
    'name': env, 'nodes': pillar.get('nodes'), 'services': pillar.get('services', False)}) %}
{%- if found.retcode %}{{ raise(found.verdict) }}{% endif %}
{%- if not found.zones %}{{ raise('no machine may be rebooted: ' ~ found.warnings | join(' ')) }}{% endif %}

{%- for zone in found.zones %}
{%- set nodes = zone.nodes | join(',') %}

saltdeploy evacuates {{ nodes }}:
  salt.runner:
    - name: deploy.evacuate
    - node: {{ nodes | json }}
    - env: {{ found.environment | json }}
    - reason: {{ reason | json }}
    - failhard: True
{%- if pillar.get('apply') %}

saltdeploy applies states to {{ nodes }}:
  salt.state:
    - tgt: {{ zone.nodes | json }}
    - tgt_type: list
    - sls: {{ pillar['apply'] | json }}
    - failhard: True
{%- endif %}

saltdeploy reboots {{ nodes }}:
  salt.runner:
    - name: environment.reboot
    - arg: [{{ ("'%s'" % found.environment) | json }}]   # a positional argument is read as YAML
    - nodes: {{ nodes | json }}
    - services: {{ pillar.get('services', False) | json }}
    - reason: {{ reason | json }}
    - failhard: True

saltdeploy returns {{ nodes }}:
  salt.runner:
    - name: deploy.return
    - node: {{ nodes | json }}
    - env: {{ found.environment | json }}
    - reason: {{ reason | json }}
    - failhard: True
{%- endfor %}
