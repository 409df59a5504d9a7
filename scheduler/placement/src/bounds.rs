//! Every bound of the engine, in one place.

/// Hosts known at once.
pub const HOSTS_MAX: usize = 60_000;
/// Of anything that one host may tell it has: 128 TiB of bytes.
pub const HOST_AMOUNT_MAX: u64 = 1 << 47;
/// Of anything reserved on one host; only adopted runs can come beyond its capacity.
pub const HOST_USED_MAX: u64 = HOST_AMOUNT_MAX * 2;
/// Images of one host's inventory.
pub const IMAGES_PER_HOST_MAX: usize = 4_096;
/// Labels of a host, and labels that a run may ask for: those of its users, and some of the scheduler's own.
pub const LABELS_MAX: usize = 80;

/// Runs waiting at once. The store holds the rest.
pub const PENDING_MAX: usize = 4_000_000;
/// Runs that hold a reservation at once.
pub const LIVE_MAX: usize = 4_000_000;
/// Different demands (see `Wants`) of all waiting and live runs.
pub const CLASSES_MAX: usize = 65_536;
/// Executors a run may be pinned to.
pub const EXECUTORS_PER_RUN_MAX: usize = 64;
/// Hosts a run may be kept off.
pub const EXCLUDED_PER_RUN_MAX: usize = 64;
/// Runners with a warmed host, and tenants with a weight of their own: those are remembered without a run.
pub const REMEMBERED_MAX: usize = 1_000_000;

/// Assignments of one call to `place`.
pub const BATCH_MAX: usize = 4_096;
/// Hosts tried of those that hold a run's image; after that it goes where there is room.
pub const IMAGE_PROBES_MAX: usize = 128;
/// Hosts with new room that a waiting class keeps note of; with more it looks at the whole fleet again.
pub const HOPES_MAX: usize = 256;
/// Hosts reserved at once.
pub const RESERVATIONS_MAX: usize = 64;
/// Searches for a host to reserve in one call to `place`: each looks at all hosts.
pub const RESERVATION_SEARCHES_MAX: usize = 1;
/// Failed starts a host may be allowed before quarantine.
pub const START_FAILURES_MAX: usize = 64;
/// Steps that the queue is played forward to tell a position.
pub const POSITION_STEPS_MAX: usize = 1_000;
