//! What a key means, as in htop. Pure.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::Mode;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Choose the column that sorts from a list.
    Sort,
    /// Sort by the column to the left or, if true, to the right.
    Beside(bool),
    Invert,
    Filter,
    Type(char),
    Erase,
    Pause,
    Help,
    Details,
    Interval,
    Longer,
    Shorter,
    /// What was begun is done.
    Accept,
    /// What was begun is given up.
    Cancel,
}

/// What a key asks for in a mode; none where it means nothing.
pub(super) fn action(mode: &Mode, key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => return Some(Action::Quit),
        KeyCode::F(10) => return Some(Action::Quit),
        KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        _ => {}
    }
    if matches!(mode, Mode::Filter { .. }) {
        return in_filter(key.code);
    }
    if let Some(moving) = moving(key.code) {
        return Some(moving);
    }
    match (mode, key.code) {
        (_, KeyCode::Char('q')) => Some(Action::Quit),
        (Mode::Table, code) => in_table(code),
        (Mode::Interval, KeyCode::Char('+')) => Some(Action::Longer),
        (Mode::Interval, KeyCode::Char('-')) => Some(Action::Shorter),
        (Mode::Sort { .. }, KeyCode::Char(' ')) | (_, KeyCode::Enter) => Some(Action::Accept),
        (_, KeyCode::Esc)
        | (Mode::Help { .. }, KeyCode::Char('h' | '?') | KeyCode::F(1))
        | (Mode::Sort { .. }, KeyCode::F(6))
        | (Mode::Interval, KeyCode::Char('d')) => Some(Action::Cancel),
        _ => None,
    }
}

fn moving(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Up => Some(Action::Up),
        KeyCode::Down => Some(Action::Down),
        KeyCode::PageUp => Some(Action::PageUp),
        KeyCode::PageDown => Some(Action::PageDown),
        KeyCode::Home => Some(Action::Home),
        KeyCode::End => Some(Action::End),
        _ => None,
    }
}

fn in_table(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::F(6) => Some(Action::Sort),
        KeyCode::Char('>' | '<') => Some(Action::Beside(code == KeyCode::Char('>'))),
        KeyCode::Char('I') => Some(Action::Invert),
        KeyCode::Char('/') | KeyCode::F(4) => Some(Action::Filter),
        KeyCode::Char(' ') => Some(Action::Pause),
        KeyCode::Char('h' | '?') | KeyCode::F(1) => Some(Action::Help),
        KeyCode::Char('d') => Some(Action::Interval),
        KeyCode::Enter => Some(Action::Details),
        // What a filter hides comes back.
        KeyCode::Esc => Some(Action::Cancel),
        _ => None,
    }
}

fn in_filter(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char(c) => Some(Action::Type(c)),
        KeyCode::Backspace => Some(Action::Erase),
        KeyCode::Enter => Some(Action::Accept),
        KeyCode::Esc => Some(Action::Cancel),
        KeyCode::Up => Some(Action::Up),
        KeyCode::Down => Some(Action::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn keys_mean_what_they_do_in_htop() {
        let filter = || Mode::Filter { before: String::new() };
        let sort = || Mode::Sort { at: 0 };
        let help = || Mode::Help { scroll: 0 };
        let details = || Mode::Details { id: String::new(), scroll: 0 };
        let cases = [
            (Mode::Table, KeyCode::Char('q'), Some(Action::Quit)),
            (Mode::Table, KeyCode::F(10), Some(Action::Quit)),
            (filter(), KeyCode::F(10), Some(Action::Quit)),
            (filter(), KeyCode::Char('q'), Some(Action::Type('q'))),
            (filter(), KeyCode::Char(' '), Some(Action::Type(' '))),
            (filter(), KeyCode::Backspace, Some(Action::Erase)),
            (filter(), KeyCode::Enter, Some(Action::Accept)),
            (filter(), KeyCode::Esc, Some(Action::Cancel)),
            (filter(), KeyCode::Down, Some(Action::Down)),
            (filter(), KeyCode::F(6), None),
            (Mode::Table, KeyCode::Up, Some(Action::Up)),
            (Mode::Table, KeyCode::PageDown, Some(Action::PageDown)),
            (Mode::Table, KeyCode::Home, Some(Action::Home)),
            (Mode::Table, KeyCode::End, Some(Action::End)),
            (Mode::Table, KeyCode::F(6), Some(Action::Sort)),
            (Mode::Table, KeyCode::Char('>'), Some(Action::Beside(true))),
            (Mode::Table, KeyCode::Char('<'), Some(Action::Beside(false))),
            (Mode::Table, KeyCode::Char('I'), Some(Action::Invert)),
            (Mode::Table, KeyCode::Char('/'), Some(Action::Filter)),
            (Mode::Table, KeyCode::F(4), Some(Action::Filter)),
            (Mode::Table, KeyCode::Char(' '), Some(Action::Pause)),
            (Mode::Table, KeyCode::F(1), Some(Action::Help)),
            (Mode::Table, KeyCode::Char('h'), Some(Action::Help)),
            (Mode::Table, KeyCode::Char('?'), Some(Action::Help)),
            (Mode::Table, KeyCode::Char('d'), Some(Action::Interval)),
            (Mode::Table, KeyCode::Enter, Some(Action::Details)),
            (Mode::Table, KeyCode::Char('x'), None),
            (Mode::Table, KeyCode::Char('+'), None),
            (Mode::Interval, KeyCode::Char('+'), Some(Action::Longer)),
            (Mode::Interval, KeyCode::Char('-'), Some(Action::Shorter)),
            (Mode::Interval, KeyCode::Esc, Some(Action::Cancel)),
            (sort(), KeyCode::Down, Some(Action::Down)),
            (sort(), KeyCode::Enter, Some(Action::Accept)),
            (sort(), KeyCode::Esc, Some(Action::Cancel)),
            (help(), KeyCode::Char('?'), Some(Action::Cancel)),
            (help(), KeyCode::Char('q'), Some(Action::Quit)),
            (details(), KeyCode::Esc, Some(Action::Cancel)),
            (details(), KeyCode::PageUp, Some(Action::PageUp)),
            (details(), KeyCode::Char('I'), None),
        ];
        for (mode, code, expected) in cases {
            assert_eq!(action(&mode, pressed(code)), expected, "{code:?} in {mode:?}");
        }
    }

    #[test]
    fn control_c_quits_everywhere_and_other_controls_mean_nothing() {
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        for mode in [Mode::Table, Mode::Interval, Mode::Filter { before: String::new() }] {
            assert_eq!(action(&mode, control('c')), Some(Action::Quit), "{mode:?}");
            assert_eq!(action(&mode, control('h')), None, "{mode:?}");
        }
        let released = KeyEvent { kind: KeyEventKind::Release, ..pressed(KeyCode::Char('q')) };
        assert_eq!(action(&Mode::Table, released), None, "a key that is let go");
    }
}
