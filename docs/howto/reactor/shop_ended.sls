# /srv/reactor/shop_ended.sls: takes the deployment's id from the event, and nothing else.
shop ended:
  runner.state.orchestrate:
    - args:
      - mods: reactions.shop_deployed
      - pillar:
          deployment: {{ data.get('deployment') | json }}
