//! `retold system`.

use crate::command::run;

#[test]
fn the_system_of_the_demonstration_is_drawn() {
    assert_eq!(
        run(&["system", "picture"]).fine(),
        "flowchart LR\n  \
           flights\n  \
           aircraft\n  \
           notices\n  \
           flights -->|movements| aircraft\n  \
           aircraft -->|risks| notices\n  \
           flights -->|risks| notices\n"
    );
    let dot = run(&["system", "picture", "--graphviz"]).fine();
    assert!(dot.starts_with("digraph \"flights\" {\n"), "{dot}");
    let objects = run(&["system", "picture", "--json"]).objects();
    assert_eq!(objects[0]["language"], "mermaid");
    run(&["system"]).check_refused(2, "picture");
}
