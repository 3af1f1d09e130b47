# /srv/salt/reactions/shop_deployed.sls: believes the history, not the event.
{%- set answer = salt['saltutil.runner']('deploy.history', arg=['shop'], kwarg={'env': 'production', 'limit': 1}) %}
{%- set newest = answer.history | first | default({}, true) %}
{%- set deployed = newest.get('verb') in ('deploy', 'publish', 'promote', 'rollback') and newest.retcode == 0 %}
{%- if deployed and newest.deployment == pillar.get('deployment') %}
warm up shop:
  salt.function:
    - name: cmd.run
    - tgt: {{ newest.record.nodes | list | json }}
    - tgt_type: list
    - arg:
      - {{ ['/usr/local/bin/warm-up', 'shop', newest.version.split('@')[0]] | json }}
    - kwarg:
        python_shell: false
{%- else %}
this is not the newest deployment of shop:
  test.nop
{%- endif %}
