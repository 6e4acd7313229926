//! Pages of text: the help, and one container by itself. Pure.

use ebpf_netns::text::printable;
use ratatui::text::Span;

use crate::kernel::Count;
use crate::status::{ContainerStatus, HookStatus, InterfaceStatus, State, Status};

const HELP: &str = "\
Keys
  q F10 Ctrl-C            quit
  Up Down PageUp PageDown Home End
                          move
  F6                      choose the column that sorts, from a list
  > <                     sort by the next column, the one before
  I                       sort the other way round
  / F4                    filter by name: Enter keeps, Esc drops it
  Space                   pause, go on
  d                       the interval: + longer, - shorter
  Enter                   one container: hooks, reasons, notes
  h F1 ?                  this help
  Esc                     back

Columns
  IN/s OUT/s              packets a second that passed, to and from the container
  INB/s OUTB/s            their bytes
  DROP/s DROPPED          packets dropped a second, and in all
  -                       not known: no hook in that direction, or no earlier answer

A container that is waiting is closed until it is known whose its interface is.";

/// What is closed for its labels stays so, since Docker never changes labels.
const CLOSED: &str = "hint: ebpf-netns check --label KEY=VALUE tells what a label means. Labels of a \
    container never change: make it anew with the right ones";

pub(super) fn help() -> Vec<String> {
    HELP.lines().map(str::to_owned).collect()
}

/// All that the daemon says of a container.
pub(super) fn container(status: &Status, id: &str) -> Vec<String> {
    let Some(container) = status.containers.iter().find(|container| container.id == id) else {
        return vec![format!("container {} is gone", printable(id))];
    };
    let ContainerStatus { id, name, state, reason, interfaces } = container;
    let mut lines = vec![format!("{}: {}", printable(name), state.name()), format!("id {id}")];
    if let Some(reason) = reason {
        lines.push(format!("reason: {}", printable(reason)));
    }
    if *state == State::Closed {
        lines.push(CLOSED.to_owned());
    }
    for interface in interfaces {
        lines.push(String::new());
        add_interface(&mut lines, interface, reason.as_deref());
    }
    lines
}

fn add_interface(lines: &mut Vec<String>, interface: &InterfaceStatus, told: Option<&str>) {
    let InterfaceStatus { name, network, host, state, reason, notes, hooks, .. } = interface;
    let network = network.as_ref().map_or(String::new(), |name| format!("@{}", printable(name)));
    let host = host.as_ref().map_or(String::new(), |host| {
        let bridge = host.bridge.as_ref();
        let bridge = bridge.map_or(String::new(), |name| format!(" on {}", printable(name)));
        format!(", host {}({}){bridge}", printable(&host.name), host.ifindex)
    });
    lines.push(format!("{}{network}: {}{host}", printable(name), state.name()));
    // The container's reason is mostly that of an interface.
    if let Some(reason) = reason.as_deref().filter(|reason| Some(*reason) != told) {
        lines.push(format!("  reason: {}", printable(reason)));
    }
    lines.extend(notes.iter().map(|note| format!("  note: {}", printable(note))));
    for hook in hooks {
        add_hook(lines, hook);
    }
}

fn add_hook(lines: &mut Vec<String>, hook: &HookStatus) {
    let HookStatus { hook, direction, mode, policy, program, traffic, .. } = hook;
    let mode = mode.as_ref().map_or(String::new(), |mode| format!(" {mode}"));
    let program = program.as_ref();
    let program = program.map_or(String::new(), |program| {
        format!(", {} id {}", printable(&program.name), program.id)
    });
    lines.push(format!("  {direction} at {hook}{mode}: {}{program}", printable(policy)));
    let line = |what: &str, Count { packets, bytes }: &Count| {
        format!("    {what}: {packets} packets, {bytes} bytes")
    };
    lines.push(line("passed", &traffic.passed));
    let dropped = traffic.dropped.iter();
    lines.extend(dropped.map(|(reason, count)| line(&format!("dropped, {reason}"), count)));
}

/// Breaks a line at spaces where that can be, and what has none anywhere.
pub(super) fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for word in line.split_inclusive(' ') {
        if !current.trim().is_empty() && wide(&current) + wide(word.trim_end()) > width {
            lines.push(std::mem::take(&mut current));
        }
        for c in word.chars() {
            if wide(&current) + wide(c.encode_utf8(&mut [0; 4])) > width && !current.is_empty() {
                if c == ' ' {
                    continue;
                }
                lines.push(std::mem::take(&mut current));
            }
            current.push(c);
        }
    }
    lines.push(current);
    lines
}

/// Columns that a text takes.
fn wide(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_what_is_too_long_anywhere() {
        let cases: [(&str, usize, &[&str]); 7] = [
            ("", 5, &[""]),
            ("ab cd", 5, &["ab cd"]),
            ("ab cd ef", 5, &["ab cd", "ef"]),
            ("ab cdef", 5, &["ab ", "cdef"]),
            ("abcdefgh", 3, &["abc", "def", "gh"]),
            ("  ab", 3, &["  a", "b"]),
            ("網路網路", 5, &["網路", "網路"]),
        ];
        for (line, width, expected) in cases {
            assert_eq!(wrap(line, width), expected, "{line:?} in {width}");
        }
    }
}
