-- Version 3. Hosts that are not simply online, and sessions that no living replica holds, found without looking at all.

CREATE INDEX hosts_not_online ON hosts (host) WHERE state <> 0;
CREATE INDEX host_sessions_of_nobody ON host_sessions (host) WHERE replica IS NULL;
