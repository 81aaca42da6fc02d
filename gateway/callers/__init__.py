"""Who calls: credentials, the keys that the gateway gives out, who may administer, sessions of the dashboard."""
