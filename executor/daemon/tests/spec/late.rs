//! The profile of a spec and what a slot is given late: every value is one or the other.

use std::path::Path;

use davit_executor::oci::{Controllers, divide, slot_spec};
use oci_spec::runtime::Spec;
use proptest::prelude::*;
use serde_json::Value;

use crate::any::{any_image, any_run};
use crate::{built, built_with, image, run};

/// What a slot is given late, as JSON pointers; everything else is its profile.
const LATE: &[&str] = &[
    "/process/args",
    "/process/env",
    "/hostname",
    "/annotations/davit.run-dir",
    "/linux/cgroupsPath",
    "/linux/resources/cpu/quota",
    "/linux/resources/cpu/period",
    "/linux/resources/memory/limit",
    "/linux/resources/memory/swap",
    "/linux/resources/pids/limit",
    "/linux/resources/unified/cpu.weight",
    "/linux/resources/unified/memory.oom.group",
];

/// Pointers to all values in `value` that hold no others.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut below = |key: String, inner: &Value| leaves(inner, &format!("{at}/{key}"), found);
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, inner)| below(key.clone(), inner)),
        Value::Array(list) => (0..)
            .zip(list)
            .for_each(|(index, inner): (usize, _)| below(index.to_string(), inner)),
        _ => found.push(at.to_owned()),
    }
}

/// Other values of the same kind, of which at least one makes sense anywhere in a spec.
fn others(value: &Value) -> Vec<Value> {
    const WORDS: [&str; 5] = [
        "SCMP_ACT_LOG",
        "SCMP_ARCH_X32",
        "SCMP_CMP_LT",
        "RLIMIT_CPU",
        "time",
    ];
    match value {
        Value::Bool(flag) => vec![Value::Bool(!flag)],
        Value::Number(number) => vec![Value::from(number.as_i64().unwrap() ^ 1)],
        Value::String(text) => std::iter::once(format!("{text}x"))
            .chain(WORDS.map(str::to_owned))
            .map(Value::from)
            .collect(),
        other => panic!("{other} is no leaf"),
    }
}

#[test]
fn whatever_is_not_given_late_is_the_profile() {
    let spec = built(&run(), &image());
    let (shared, _) = divide(spec.clone());
    let whole = serde_json::to_value(&spec).unwrap();
    let mut all = Vec::new();
    leaves(&whole, "", &mut all);
    assert!(all.len() > 300, "the spec is walked through: {}", all.len());
    for pointer in all {
        let changed = others(whole.pointer(&pointer).unwrap())
            .into_iter()
            .find_map(|other| {
                let mut changed = whole.clone();
                *changed.pointer_mut(&pointer).unwrap() = other;
                serde_json::from_value::<Spec>(changed).ok()
            });
        let (changed, _) = divide(changed.unwrap_or_else(|| panic!("cannot change {pointer}")));
        let is_late = LATE.iter().any(|late| pointer.starts_with(late));
        assert_eq!(changed == shared, is_late, "{pointer}");
    }
    for late in LATE {
        assert!(
            whole.pointer(late).is_some(),
            "{late} is in no spec any more"
        );
    }
}

proptest! {
    #[test]
    fn a_slot_with_an_assignment_is_the_spec_of_the_run(
        run in any_run(), image in any_image(), controllers: (bool, bool, bool),
    ) {
        let (cpu, memory, pids) = controllers;
        let Ok(spec) = built_with(&run, &image, Controllers { cpu, memory, pids }) else {
            return Ok(());
        };
        let unlimited = built_with(&run, &image, Controllers::NONE).unwrap();
        let limits = |spec: &Spec| spec.linux().clone().unwrap().resources().clone();
        let (shared, late) = divide(spec.clone());
        let mut slot = slot_spec(&shared, "warm-1", "/davit/warm-1", Path::new("/slots/warm-1"));
        prop_assert_eq!(limits(&slot), limits(&unlimited));
        let process = slot.process().as_ref().unwrap();
        prop_assert_eq!(process.args().as_ref().unwrap(), &["/proc/self/fd/3"]);
        prop_assert_eq!(process.env().as_ref().unwrap().len(), 1);
        prop_assert_eq!(slot.annotations().as_ref().unwrap()["davit.slot-dir"].as_str(), "/slots/warm-1");
        prop_assert_eq!(slot.hostname().as_deref(), Some("warm-1"));

        slot.set_hostname(Some(late.hostname));
        slot.set_annotations(spec.annotations().clone());
        let process = slot.process_mut().as_mut().unwrap();
        process.set_args(Some(late.args)).set_env(Some(late.env));
        let linux = slot.linux_mut().as_mut().unwrap();
        prop_assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/davit/warm-1")));
        linux.set_cgroups_path(spec.linux().as_ref().unwrap().cgroups_path().clone());
        linux.set_resources(limits(&spec));
        prop_assert_eq!(slot, spec);
    }
}
