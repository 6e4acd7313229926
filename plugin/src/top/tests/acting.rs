//! What keys change: sorting, filtering, moving.

use super::super::column::Column;
use super::super::keys::Action;
use super::super::model::Model;
use super::{after, model, samples, screen, shop};

fn names(model: &Model) -> Vec<&str> {
    model.shown.iter().map(|row| row.container.get(..3).unwrap_or_default()).collect()
}

#[test]
fn columns_sort_numbers_from_the_largest_and_names_from_the_first() {
    let mut model = model(80, 24);
    assert_eq!(names(&model), ["api", "bad", "idl", "web"]);
    let cases = [
        (Column::State, ["bad", "api", "web", "idl"]),
        (Column::Drops, ["web", "api", "bad", "idl"]),
        (Column::Dropped, ["web", "bad", "api", "idl"]),
        (Column::OutBytes, ["api", "web", "bad", "idl"]),
        (Column::Policy, ["idl", "bad", "api", "web"]),
    ];
    for (column, expected) in cases {
        after(&mut model, &[Action::Sort, Action::Home]);
        after(&mut model, &vec![Action::Down; column.place()]);
        after(&mut model, &[Action::Accept]);
        assert_eq!(names(&model), expected, "{column:?}");
    }
    after(&mut model, &[Action::Beside(false)]);
    assert_eq!(model.sort.column, Column::Interface);
    after(&mut model, &[Action::Beside(false), Action::Beside(false), Action::Beside(false)]);
    assert_eq!(model.sort.column, Column::Container, "there is none further to the left");
    after(&mut model, &[Action::Invert]);
    assert_eq!(names(&model), ["web", "idl", "bad", "api"]);
}

#[test]
fn a_filter_is_typed_kept_and_dropped() {
    let mut model = model(80, 24);
    after(&mut model, &[Action::Filter, Action::Type('A'), Action::Type('x')]);
    assert!(names(&model).is_empty(), "nothing is named ax");
    let shown = after(&mut model, &[Action::Erase]);
    assert_eq!(names(&model), ["api", "bad"]);
    assert!(shown.contains("\nFilter: A_\n"), "{shown}");
    let shown = after(&mut model, &[Action::Accept]);
    assert!(shown.contains("\n[A] F1Help"), "{shown}");
    after(&mut model, &[Action::Filter, Action::Type('p'), Action::Cancel]);
    assert_eq!(names(&model), ["api", "bad"], "what was there before");
    after(&mut model, &[Action::Cancel]);
    assert_eq!(names(&model).len(), 4);
}

#[test]
fn the_selection_stays_with_its_row() {
    let mut model = model(80, 24);
    after(&mut model, &[Action::End, Action::Up]);
    assert_eq!(model.chosen().unwrap().container, "idle");
    after(&mut model, &[Action::Invert]);
    assert_eq!(model.chosen().unwrap().container, "idle", "sorted the other way round");
    let mut fewer = shop(30, 11);
    fewer.retain(|container| container.name != "idle");
    model.learn(samples(vec![], fewer).1);
    assert_eq!(model.chosen().unwrap().container, "bad", "what has its place now");
    model.learn(samples(vec![], vec![]).1);
    assert_eq!(model.chosen(), None);
    assert!(screen(&model).contains("no container has a policy"), "{}", screen(&model));
}

#[test]
fn rows_scroll_with_the_selection() {
    let mut model = model(40, 6);
    assert_eq!(model.page(), 2);
    let cases = [
        (Action::Down, 1, 0),
        (Action::Down, 2, 1),
        (Action::Up, 1, 1),
        (Action::PageDown, 3, 2),
        (Action::PageDown, 3, 2),
        (Action::Home, 0, 0),
        (Action::End, 3, 2),
        (Action::PageUp, 1, 1),
    ];
    for (action, selected, top) in cases {
        model.act(action);
        assert_eq!((model.selected, model.top), (selected, top), "after {action:?}");
    }
    model.resize(40, 24);
    assert_eq!(model.top, 0, "all of it fits");
}
