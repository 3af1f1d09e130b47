"""The configuration of Consul, supervisord and Salt, from plain arguments."""

from __future__ import annotations

CONSUL_HTTP, CONSUL_DNS = 8500, 8600


def consul_config(name, address, servers, folder, datacenter="demo"):
    """Return the configuration of one Consul agent as a mapping, for Consul 1.8 and newer.

    :param name: the node's name.
    :param address: where it listens, for everything; the others use the same ports.
    :param servers: the addresses of all servers: its own is among them, or it is none.
    :param folder: where it keeps its data.
    """
    return {
        "node_name": name,
        "datacenter": datacenter,
        **({"server": True, "bootstrap_expect": len(servers)} if address in servers else {}),
        "bind_addr": address,
        "client_addr": address,
        "retry_join": [server for server in servers if server != address],
        "retry_interval": "1s",
        "data_dir": str(folder),
        "ports": {"http": CONSUL_HTTP, "dns": CONSUL_DNS, "serf_wan": -1},
        # Loopback loses nothing: a dead node or leader may be known sooner than on a real network.
        "performance": {"raft_multiplier": 1},
        "gossip_lan": {"probe_interval": "500ms", "probe_timeout": "250ms", "suspicion_mult": 3},
        # All of them stop and start together: whoever left would be missing in the next quorum.
        "leave_on_terminate": False,
        "disable_update_check": True,
        "log_level": "INFO",
    }


def supervisord_config(folder, socket, user=""):
    """Return a supervisord.conf, to be written in ``folder``, that includes ``programs/*.conf`` there.

    :param socket: the path of its control socket, at most 107 bytes.
    :param user: who it runs as, if that is root: supervisord wants it said.
    """
    return f"""\
[supervisord]
nodaemon=true
{f"user={user}" if user else ""}
logfile=/dev/null
logfile_maxbytes=0
pidfile={_literal(folder)}/supervisord.pid
childlogdir={_literal(folder)}

[unix_http_server]
file={_literal(socket)}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{_literal(socket)}

[include]
files=programs/*.conf
"""


def master_config(root, files, pillar, user, ports):
    """Return a Salt master's configuration as a mapping: on loopback only, and it accepts no key by itself.

    :param root: the folder that all it keeps is in; its sockets, too, so it must be short.
    :param files: the file roots, the first first; ``pillar``: the pillar root.
    :param user: who it runs as.
    :param ports: the publish port and the request port.
    """
    return {
        # As Salt makes it where none is given: what pillar/top.sls matches.
        "id": "salt_master",
        "interface": "127.0.0.1",
        "publish_port": ports[0],
        "ret_port": ports[1],
        "user": user,
        **_folders(root, "master"),
        "token_dir": f"{root}/cache/tokens",
        "sqlite_queue_dir": f"{root}/cache/queues",
        "key_logfile": f"{root}/log/key",
        "file_roots": {"base": [str(folder) for folder in files]},
        "pillar_roots": {"base": [str(pillar)]},
        "worker_threads": 3,
        # Three nodes, a master and a browser share the machine: a slow answer is not a lost one.
        "timeout": 15,
        # salt-run of 3008 leaves these open itself, and warns of it after every run.
        "log_granular_levels": {"salt.runner": "error", "salt.minion": "error"},
    }


def minion_config(name, root, user, ports, settings):
    """Return a Salt minion's configuration as a mapping.

    :param name: the minion's id.
    :param root: the folder that all it keeps is in; its sockets, too, so it must be short.
    :param ports: the master's publish port and request port.
    :param settings: its ``saltdeploy`` settings.
    """
    return {
        "id": name,
        "master": "127.0.0.1",
        "publish_port": ports[0],
        "master_port": ports[1],
        "user": user,
        **_folders(root, "minion"),
        "acceptance_wait_time": 1,
        "random_reauth_delay": 1,
        "recon_default": 100,
        "recon_max": 1000,
        # These would ask the network for names, and wait for it.
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
        "saltdeploy": settings,
    }


def _folders(root, role):
    return {
        "root_dir": str(root),
        "pki_dir": f"{root}/pki",
        "cachedir": f"{root}/cache",
        "sock_dir": f"{root}/run",
        "extension_modules": f"{root}/cache/extmods",
        "pidfile": f"{root}/run/{role}.pid",
        "log_file": f"{root}/log/{role}",
        "log_level": "warning",
    }


def _literal(path):
    return str(path).replace("%", "%%")
