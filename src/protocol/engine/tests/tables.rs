//! What a test needs that holds a machine's table: a row for every state with every event.

/// A state by its name, and how it is reached.
pub(in super::super) type Make<M> = (&'static str, fn() -> M);
/// An event by its name, and what came of it.
pub(in super::super) type Apply<M> = (&'static str, fn(&mut M) -> String);

/// A row for every state and every event: what came of it, and the state after it.
pub(in super::super) fn table<M>(states: &[Make<M>], events: &[Apply<M>], show: fn(&M) -> String) -> String {
    let mut rows = String::new();
    for (state, make) in states {
        rows.push_str(&format!("{state} ({})\n", show(&make())));
        for (event, apply) in events {
            let mut machine = make();
            let outcome = apply(&mut machine);
            rows.push_str(&format!("    {event}: {outcome} -> {}\n", show(&machine)));
        }
    }
    rows
}

/// An event that nothing comes of but the state after it.
pub(in super::super) fn done_with<M>(machine: &mut M, act: impl FnOnce(&mut M)) -> String {
    act(machine);
    "done".to_owned()
}
