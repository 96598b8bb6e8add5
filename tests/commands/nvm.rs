//! A CLI that no search path leads to, in a place where installers put it.

use std::os::unix::fs::PermissionsExt as _;

use crate::stage::{Home, Login};

/// Found by a look into the usual places, a script still needs the interpreter that nvm put beside it.
#[test]
fn a_cli_of_nvm_is_run_with_the_node_beside_it() {
    let home = Home::new();
    let bin = ".nvm/versions/node/v24.1.0/bin";
    home.mkdir(bin);
    let claude = home.write(&format!("{bin}/claude"), "#!/usr/bin/env node\n");
    let node = "#!/bin/sh\necho \"$2\" >>\"$HOME/asked\"\n[ \"$2\" != -p ] || cat \"$HOME/next\" >\"$HOME/.claude/.credentials.json\"\n";
    let node = home.write(&format!("{bin}/node"), node);
    for program in [&claude, &node] {
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    home.configure("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n");
    home.rotate(&Login::nth(1));
    home.holds_tokens("next");
    home.write("next", Login::nth(2).document());
    let ran = home.run(&["refresh", "claude", "--force"]);
    assert!(ran.code == 0 && ran.stdout.contains("rotated"), "{ran:?}");
    assert_eq!(home.read("asked"), "--help\n-p\n");
    home.finish();
}
