//! What is on the screen.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::super::draw::draw;
use super::super::keys::Action;
use super::super::model::{Mode, Model};
use super::{after, model, samples, screen, shop};

#[track_caller]
fn check_screen(shown: &str, expected: &[&str]) {
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines, expected, "\n{shown}");
}

#[test]
fn the_screen_of_80_by_24() {
    let mut expected = vec![
        "daemon 0.1.0, Docker ok, strict: 2 enforced, 1 closed, 1 waiting, every 1 s",
        "CONTAINER  STATE    IFACE    POLICY     IN/s  INB/s  OUT/s OUTB/s DROP/s DROPPED",
        "api        enforced eth0@lan drop-udp    10k   1.0M   5.0k   500k      0       0",
        "bad        closed   eth0@lan closed        -      -      0      0      0       7",
        "idle       idle                            -      -      -      -      -       0",
        "web\\u{1b}[ enforced eth0@lan drop-udp     10   1.0k      5    500      3      11",
    ];
    expected.resize(22, "");
    expected.push("api: nothing dropped");
    expected.push("F1Help F4Filter F6Sort Enter:Details Space:Pause d:Interval I:Invert F10Quit");
    check_screen(&screen(&model(80, 24)), &expected);
}

#[test]
fn the_screen_of_40_by_10() {
    let mut small = model(40, 10);
    let expected = [
        "Docker, strict, 2 enf 1 closed 1 wait",
        "CONTAINER  STATE      IN/s  OUT/s DROP/s",
        "api        enforced    10k   5.0k      0",
        "bad        closed        -      0      0",
        "idle       idle          -      -      -",
        "web\\u{1b}[ enforced     10      5      3",
        "",
        "",
        "bad: closed: label tc.policy: column 1:",
        "F1Help F4Filter F6Sort Enter F10Quit",
    ];
    check_screen(&after(&mut small, &[Action::Down]), &expected);
}

#[test]
fn no_size_is_too_small_or_too_large_to_draw() {
    let mut model = model(80, 24);
    for (columns, lines) in [(1, 1), (3, 2), (10, 3), (20, 5), (40, 10), (500, 200)] {
        model.resize(columns, lines);
        for page in [Action::Help, Action::Sort, Action::Details, Action::Filter] {
            let shown = after(&mut model, &[page]);
            assert_eq!(shown.lines().count(), usize::from(lines), "{page:?}");
            after(&mut model, &[Action::Cancel]);
        }
    }
}

#[test]
fn a_daemon_that_is_gone_is_told_and_what_it_said_stays() {
    let mut model = model(80, 24);
    model.miss("the daemon is \u{1b}not running".to_owned());
    let shown = screen(&model);
    let line = "NO ANSWER, this is what was: the daemon is \\u{1b}not running";
    assert_eq!(shown.lines().nth(1), Some(line), "{shown}");
    assert!(shown.contains("\napi        enforced"), "{shown}");
    model.learn(samples(vec![], shop(30, 11)).1);
    assert!(!screen(&model).contains("NO ANSWER"), "it answers again");
}

#[test]
fn one_container_is_shown_with_hooks_reasons_and_a_hint() {
    let mut model = model(80, 24);
    let expected = [
        "bad: closed",
        "id bad-id",
        "reason: label tc.policy: column 1: what?",
        "hint: ebpf-netns check --label KEY=VALUE tells what a label means. Labels of a ",
        "container never change: make it anew with the right ones",
        "",
        "eth0@lan: closed, host veth7(7) on docker0",
        "  egress at tcx: closed",
        "    passed: 0 packets, 0 bytes",
        "    dropped, closed: 7 packets, 700 bytes",
    ];
    after(&mut model, &[Action::Down, Action::Details]);
    assert_eq!(model.text(), expected);
    assert!(screen(&model).contains("    dropped, closed: 7 packets"), "{}", screen(&model));
    model.learn(samples(vec![], vec![]).1);
    assert_eq!(model.text(), ["container bad-id is gone"]);
    after(&mut model, &[Action::Cancel]);
    assert_eq!(model.mode, Mode::Table);
}

#[test]
fn text_scrolls_to_its_end_and_no_further() {
    let mut model = model(40, 10);
    after(&mut model, &[Action::Help, Action::End, Action::PageDown, Action::Down]);
    let last = model.text().last().cloned().unwrap();
    assert!(screen(&model).contains(last.trim_end()), "{}", screen(&model));
    after(&mut model, &[Action::Home, Action::Up]);
    assert!(screen(&model).contains("\nKeys\n"), "{}", screen(&model));
}

#[test]
fn the_list_of_columns_is_shown_over_the_rows() {
    let shown = after(&mut model(80, 24), &[Action::Sort]);
    assert!(shown.contains("┌Sort by"), "{shown}");
    assert!(shown.contains("│DROPPED"), "{shown}");
}

#[test]
fn pausing_and_the_interval_are_in_the_header() {
    let mut model = model(100, 24);
    let shown = after(&mut model, &[Action::Pause, Action::Interval, Action::Longer]);
    assert!(shown.contains("every 2 s PAUSED"), "{shown}");
    let shown =
        after(&mut model, &[Action::Shorter, Action::Shorter, Action::Accept, Action::Pause]);
    assert!(shown.contains("every 0.5 s\n"), "{shown}");
}

#[test]
fn colours_are_used_where_they_are_wanted() {
    let coloured = |model: &Model| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let cells = terminal.backend().buffer().content().to_vec();
        cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    let mut model = model(80, 24);
    assert!(!coloured(&model), "none without");
    model.colours = true;
    assert!(coloured(&model), "some with");
}
