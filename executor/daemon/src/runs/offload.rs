//! Blocking file work, off the executor's threads.

/// Runs `work` where it may block.
pub(crate) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking tasks are cancelled only when the runtime goes down, which ends us too.
            Err(_) => std::future::pending().await,
        },
    }
}
