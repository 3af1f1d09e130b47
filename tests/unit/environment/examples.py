"""Files of environments and apps, as the tests of this room need them."""

PRODUCTION = "environments: {production: {nodes: {p1: {address: 10.1.0.1}}, apps: {shop: {instances: 4}}}}"
TEST = "environments: {test: {based_on: production, scale: 0.5, nodes: {t1: {address: 10.2.0.1}}}}"
SHOP = "apps: {shop: {source: {pip: shop}, run: ./shop, env: {PASSWORD: geheim}, roles: [web]}}"
NODES = "nodes: {t1: {address: 10.2.0.1, roles: [web]}, t2: {address: 10.2.0.2, roles: [db]}}"
PLACED = f"environments: {{test: {{{NODES}, apps: {{shop: {{version: '1', env: {{TOKEN: streng}}}}, db: {{}}}}}}}}"
DB = "apps: {db: {source: {pip: db}, run: ./db, roles: [db], hooks: {before_start: ./x --key heimlich}}}\ndb_key: eigen"
