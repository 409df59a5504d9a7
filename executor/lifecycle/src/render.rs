//! The table for people: as text and as a Mermaid graph, both kept beside the crate.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::{Action, Event, State, step};

/// The whole table, a block a state, one line an event; ignored events are listed at the block's end.
#[must_use]
pub fn table_text() -> String {
    let mut text = String::new();
    for state in State::ALL {
        push(&mut text, format_args!("{state}\n"));
        let mut ignored = Vec::new();
        for event in Event::ALL {
            let row = step(state, event);
            if row.next == state && row.actions.is_empty() {
                ignored.push(format!("{event:?}"));
                continue;
            }
            let event = format!("{event:?}");
            let next = row.next.to_string();
            let actions = actions(row.actions);
            push(
                &mut text,
                format_args!("  {event:<16} → {next:<12} {actions}\n"),
            );
        }
        if !ignored.is_empty() {
            push(
                &mut text,
                format_args!("  ignored: {}\n", ignored.join(", ")),
            );
        }
        text.push('\n');
    }
    text
}

/// The states and ways between them as a Mermaid state diagram.
#[must_use]
pub fn graph() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> accepted\n");
    for state in State::ALL {
        let mut ways: BTreeMap<State, Vec<String>> = BTreeMap::new();
        for event in Event::ALL {
            let next = step(state, event).next;
            if next != state {
                ways.entry(next).or_default().push(format!("{event:?}"));
            }
        }
        for (next, events) in ways {
            push(
                &mut text,
                format_args!("    {state} --> {next}: {}\n", events.join(", ")),
            );
        }
    }
    text.push_str("    ended --> [*]\n");
    text
}

fn actions(list: &[Action]) -> String {
    let words: Vec<String> = list.iter().map(|action| format!("{action:?}")).collect();
    words.join(", ")
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line)
        .expect("writing to a String cannot fail");
}
