"""Plain data, its words and its forms, for the master and the nodes. Pure: imports nothing else of saltdeploy."""
