//! The executors that tests start: as they ship, but for what a file in their directory says.

use std::collections::BTreeMap;

use davit_executor::link::{Registration, register};
use davit_executor::settings::NetworkSettings;

use super::scheduler;
use super::serving::{
    self, CAPABILITIES, FILE_BOUNDS, HOST_NETWORK, NETWORK, NO_SLOTS, PLAIN_SHIMS, USER_NAMESPACES,
    settings,
};
use super::support::Executor;

impl Executor {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One that leaves it to containerd to execute the shims.
    pub async fn start_plain() -> Self {
        Self::start_with(&[PLAIN_SHIMS]).await
    }

    /// One whose runs may ask for the host's network.
    pub async fn start_with_host_network() -> Self {
        Self::start_with(&[HOST_NETWORK]).await
    }

    /// One whose runs may be given these capabilities.
    pub async fn start_with_capabilities(names: &str) -> Self {
        let dir = Self::make_dir();
        std::fs::write(dir.join(CAPABILITIES), names).unwrap();
        Self::start_in(dir).await
    }

    /// One that makes no container in advance.
    pub async fn start_cold() -> Self {
        Self::start_with(&[NO_SLOTS]).await
    }

    /// One without containers made in advance, whose others get user namespaces as `told`: mode and number of ranges.
    pub async fn start_with_ids(told: &str) -> Self {
        let dir = Self::make_dir();
        std::fs::write(dir.join(NO_SLOTS), "").unwrap();
        std::fs::write(dir.join(USER_NAMESPACES), told).unwrap();
        Self::start_in(dir).await
    }

    /// One whose network is set so.
    pub async fn start_with_network(network: &NetworkSettings) -> Self {
        let dir = Self::make_dir();
        let text = serde_json::to_vec(network).unwrap();
        std::fs::write(dir.join(NETWORK), text).unwrap();
        Self::start_in(dir).await
    }

    /// One that takes files within `bounds`: bytes and files of an upload, bytes of what is collected.
    pub async fn start_with_file_bounds(bounds: &str) -> Self {
        let dir = Self::make_dir();
        std::fs::write(dir.join(FILE_BOUNDS), bounds).unwrap();
        Self::start_in(dir).await
    }

    /// One that is registered at `server` and takes runs from it.
    pub async fn start_linked(server: &str) -> Self {
        let dir = Self::make_dir();
        std::fs::write(dir.join(serving::SCHEDULER), server).unwrap();
        let registration = Registration {
            server: server.to_owned(),
            join_token: scheduler::JOIN_TOKEN.into(),
            name: "host".into(),
            labels: BTreeMap::new(),
        };
        let link = settings(&dir).link;
        let first = register(registration.clone(), &link).await.unwrap();
        let again = register(registration, &link).await.unwrap();
        assert_eq!((again.host_id, again.was_registered), (first.host_id, true));
        Self::start_in(dir).await
    }

    async fn start_with(files: &[&str]) -> Self {
        let dir = Self::make_dir();
        for file in files {
            std::fs::write(dir.join(file), "").unwrap();
        }
        Self::start_in(dir).await
    }
}
