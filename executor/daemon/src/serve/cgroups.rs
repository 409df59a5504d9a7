//! The cgroup v2 hierarchy at start: which controllers runs can have, and switching them on.

use davit_cgroup::{CgroupPath, Controller, Controllers, Hierarchy};

use super::ServeError;

/// Limits that every run has: without these controllers they would be wishes.
const REQUIRED: [Controller; 3] = [Controller::Cpu, Controller::Memory, Controller::Pids];

/// What runs on this host can have.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) hierarchy: Hierarchy,
    pub(super) enabled: Controllers,
    pub(super) missing: Vec<&'static str>,
    pub(super) warnings: Vec<String>,
}

/// Switches the controllers on for children of `parent`.
pub(super) fn prepare(parent: &CgroupPath, allow_missing: bool) -> Result<Limits, ServeError> {
    let failed = |source| ServeError::Cgroup { source };
    let hierarchy = Hierarchy::find().map_err(failed)?;
    let available = hierarchy.controllers().map_err(failed)?;
    let mut limits = settle(hierarchy, available, allow_missing)?;
    match limits.hierarchy.enable_below(parent, limits.enabled) {
        Ok(()) => {}
        Err(error) if allow_missing => {
            limits.warnings.push(format!(
                "runs are unlimited: {}",
                crate::runs::sentence(&error)
            ));
            limits.missing = REQUIRED
                .iter()
                .map(|controller| controller.as_str())
                .collect();
            limits.enabled = Controllers::NONE;
            let made = limits.hierarchy.enable_below(parent, Controllers::NONE);
            made.map_err(failed)?;
        }
        Err(source) => {
            let parent = parent.to_string();
            return Err(ServeError::CannotEnable { parent, source });
        }
    }
    Ok(limits)
}

fn settle(
    hierarchy: Hierarchy,
    available: Controllers,
    allow_missing: bool,
) -> Result<Limits, ServeError> {
    let lacking = |controller: &Controller| !available.contains(*controller);
    let missing: Vec<&str> = REQUIRED
        .iter()
        .filter(|c| lacking(c))
        .map(|controller| controller.as_str())
        .collect();
    let mut warnings = Vec::new();
    if !missing.is_empty() {
        if !allow_missing {
            return Err(ServeError::MissingControllers {
                missing: missing.join(" "),
            });
        }
        warnings.push(format!(
            "no cgroup controller {}: runs are not limited by it (allow_missing_controllers)",
            missing.join(" ")
        ));
    }
    let unavailable = Controllers::FOR_RUNS.without(available);
    Ok(Limits {
        hierarchy,
        enabled: Controllers::FOR_RUNS.without(unavailable),
        missing,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy() -> Option<Hierarchy> {
        // Only its type is needed; a host without cgroup v2 has none to give.
        Hierarchy::find().ok()
    }

    #[test]
    fn a_missing_controller_is_named_unless_the_operator_allows_it() {
        let Some(hierarchy) = hierarchy() else {
            return;
        };
        let available = Controllers::parse("cpu cpuset io");
        let refused = settle(hierarchy.clone(), available, false)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("memory pids"), "{refused}");
        let allowed = settle(hierarchy.clone(), available, true).unwrap();
        assert_eq!(allowed.missing, ["memory", "pids"]);
        assert!(allowed.warnings[0].contains("memory pids"));
        assert!(allowed.enabled.contains(Controller::Cpu));
        assert!(!allowed.enabled.contains(Controller::Cpuset));
        let whole = Controllers::parse("cpu io memory pids");
        assert!(settle(hierarchy, whole, false).unwrap().warnings.is_empty());
    }
}
