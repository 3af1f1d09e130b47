{#- A new environment, from accepted minions to running apps. It fails if a part of it is not as defined.

      salt-run state.orchestrate saltdeploy.orch.environment pillar='{environment: test}' -#}
{%- set env = pillar.get('environment') or raise("say the environment: pillar='{environment: test}'") %}

saltdeploy {{ env }} is up:
  salt.runner:
    - name: environment.up
    - arg: [{{ ("'%s'" % env) | json }}]   # a positional argument is read as YAML
    - reason: {{ pillar.get('reason', '') | json }}

saltdeploy {{ env }} is as defined:
  salt.runner:
    - name: environment.status
    - arg: [{{ ("'%s'" % env) | json }}]
    - require:
      - salt: saltdeploy {{ env }} is up
