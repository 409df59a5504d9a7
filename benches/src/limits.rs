//! The same resource limits for every peer, in each one's own words.
//!
//! Ample on purpose: what is measured is the work of setting them, not the throttling of a start.

use davit_rpc::local::SubmitRequest;
use serde_json::{Value, json};

const CPU_PERIOD_US: u64 = 100_000;

/// Limits of one container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    cpus: u32,
    memory_bytes_max: u64,
    pids_max: u32,
}

impl Limits {
    /// More than a payload ever uses.
    pub(crate) const AMPLE: Self = Self {
        cpus: 2,
        memory_bytes_max: 512 << 20,
        pids_max: 256,
    };

    /// For davit's API.
    pub(crate) const fn ask(self, request: &mut SubmitRequest) {
        request.cpu_millis = Some(self.cpus * 1_000);
        request.memory_bytes_max = Some(self.memory_bytes_max);
        request.pids_max = Some(self.pids_max);
    }

    /// For `ctr run`, which knows no limit of processes.
    pub(crate) fn ctr_flags(self) -> Vec<String> {
        vec![
            format!("--cpus={}", self.cpus),
            format!("--memory-limit={}", self.memory_bytes_max),
        ]
    }

    /// For `docker run` and `podman run`.
    pub(crate) fn docker_flags(self) -> Vec<String> {
        vec![
            format!("--cpus={}", self.cpus),
            format!("--memory={}", self.memory_bytes_max),
            format!("--pids-limit={}", self.pids_max),
        ]
    }

    /// For a bare runtime's `config.json`.
    pub(crate) fn put_into(self, spec: &mut Value) {
        let quota_us = u64::from(self.cpus) * CPU_PERIOD_US;
        let resources = &mut spec["linux"]["resources"];
        resources["cpu"] = json!({"quota": quota_us, "period": CPU_PERIOD_US});
        resources["memory"] = json!({"limit": self.memory_bytes_max});
        resources["pids"] = json!({"limit": self.pids_max});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_asked_for_the_same() {
        let mut spec = json!({"linux": {"resources": {"devices": ["kept"]}}});
        Limits::AMPLE.put_into(&mut spec);
        let expected = json!({
            "devices": ["kept"],
            "cpu": {"quota": 200_000, "period": 100_000},
            "memory": {"limit": 536_870_912},
            "pids": {"limit": 256},
        });
        assert_eq!(spec["linux"]["resources"], expected);
        let mut request = SubmitRequest::default();
        Limits::AMPLE.ask(&mut request);
        assert_eq!(request.cpu_millis, Some(2_000));
        assert_eq!(request.memory_bytes_max, Some(536_870_912));
        let flags = Limits::AMPLE.docker_flags();
        assert_eq!(
            flags,
            ["--cpus=2", "--memory=536870912", "--pids-limit=256"]
        );
    }
}
