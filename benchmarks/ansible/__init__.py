"""A rolling deployment with saltdeploy, with Ansible, and with Ansible and Mitogen: see ``__main__``."""
