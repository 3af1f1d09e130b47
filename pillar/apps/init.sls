# Each other *.sls of this folder is an app's; no list of them is kept. environments/all.sls and own.sls read them, so
# that a mistake in one stands in no other's way, and a node gets the secrets of those apps only that may run there.
