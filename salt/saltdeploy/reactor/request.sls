{#- The reaction to deploy/request/<environment>/<app>, for the master's `reactor`. Any minion can fire such an event, so
    nothing of it becomes a part of this file but as JSON, and deploy.request verifies its signature first. -#}
saltdeploy request:
  runner.deploy.request:
    - args:
      - tag: {{ tag | json }}
      - data: {{ data | json }}
