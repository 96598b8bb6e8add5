//! The drawing of the modules in `docs/architecture.md`, made from what the sources import. An arrow that longer ways
//! already say is left out, so that the drawing can be read; the layers' table has the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

const BEGIN: &str = "<!-- drawn from the sources -->\n";
const END: &str = "<!-- end of the drawing -->";

/// Who imports whom, among the modules of the first level.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, source) in super::sources("src") {
        let own = super::module_of(&file);
        if own == "lib" {
            continue;
        }
        let used = found.entry(own.to_owned()).or_default();
        for (_, path) in source.crate_paths(own == "main") {
            let module = path.split("::").next().unwrap();
            if module != own {
                used.insert(module.to_owned());
            }
        }
    }
    found
}

/// Whether `to` can be reached from `from` otherwise than by the one arrow between them.
fn is_said_by_others(graph: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut open: Vec<&str> = graph[from].iter().map(String::as_str).filter(|next| *next != to).collect();
    let mut seen = BTreeSet::new();
    while let Some(module) = open.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            open.extend(graph.get(module).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

fn drawing() -> String {
    let graph = imports();
    let mut text = String::from("```mermaid\nflowchart TD\n");
    for (from, targets) in &graph {
        for to in targets.iter().filter(|to| !is_said_by_others(&graph, from, to)) {
            let _ = writeln!(text, "    {from} --> {to}");
        }
    }
    text + "```\n"
}

#[test]
fn the_drawing_of_the_modules_is_what_the_sources_import() {
    let path = super::root().join("docs/architecture.md");
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (drawn, after) = rest.split_once(END).unwrap();
    let made = drawing();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(drawn, made, "UPDATE_GOLDEN=1 draws it anew");
}
