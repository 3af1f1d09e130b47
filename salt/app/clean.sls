{#- Retires the instances of all apps on this node, and removes their releases. Data, users and packages stay. -#}
saltdeploy apps are gone:
  app.cleaned:
    - failhard: true
