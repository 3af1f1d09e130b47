# The least that `state.apply` can do: what a deployment is compared with.
nothing:
  test.nop
