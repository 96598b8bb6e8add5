//! The encrypted credential of a `systemd-creds` sink, made and read by the real systemd: for an
//! ordinary user on Debian trixie (257), and for root on bookworm (252), where a user has none.

use super::support::claude;
use super::support::nspawn::BootedDebian;
use super::support::provider::Pair;
use super::support::world::{self, SOURCE};
use super::{SOON, assert_no_canary, sandbox};

/// What a gateway with an encrypted credential looks like; it notes the token that it starts with.
fn unit(credential: &str, notes: &str) -> String {
    format!(
        "[Service]\nLoadCredentialEncrypted=claude-token:{credential}\n\
         ExecStartPre=/bin/sh -c 'cat \"$CREDENTIALS_DIRECTORY/claude-token\" >>{notes}; echo >>{notes}'\n\
         ExecStart=/bin/sleep infinity\n"
    )
}

/// The same for the manager of a user before systemd 258.
const DECRYPTING: &str = "[Service]\n\
     ExecStartPre=/bin/sh -c 'systemd-creds --user --name=claude-token decrypt %h/token.cred - >>%h/notes; echo >>%h/notes'\n\
     ExecStart=/bin/sleep infinity\n";

fn configuration(credential: &str, scope: &str) -> String {
    format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"sealed\"\nlogin = \"claude\"\nkind = \"systemd-creds\"\n\
         path = \"{credential}\"\nname = \"claude-token\"\n\
         [[gateway]]\nid = \"reader\"\nsinks = [\"sealed\"]\nunit = \"reader.service\"\nscope = \"{scope}\"\n\
         min_interval = \"1s\"\n"
    )
}

fn document(pair: &Pair) -> String {
    claude::document(pair, claude::in_seconds(3600)).to_string()
}

/// A lingering user's service `reader` of that shape has the token, and after a rotation the next one.
fn supply_a_user(release: &str, reader: &str) -> BootedDebian {
    let debian = BootedDebian::start(release);
    world::install(&debian);
    let pairs = [Pair::invent("claude"), Pair::invent("claude")];
    debian.write_user(SOURCE, &document(&pairs[0]));
    debian.write_user("/home/alice/.config/tokensink/tokensink.toml", &configuration("~/token.cred", "user"));
    debian.write_user("/home/alice/.config/systemd/user/reader.service", reader);
    debian.exec_user("systemctl --user daemon-reload; systemctl --user start tokensink").ok();
    // In the sandbox of the unit, by the service of root's that has the key.
    debian.wait_until("the credential is there", SOON, || debian.read_user("token.cred").is_some());
    assert_eq!(debian.exec_user("stat -c %a token.cred").ok(), "600");
    debian.exec_user("systemctl --user start reader").ok();
    let notes = || debian.read_user("notes").unwrap_or_default();
    assert_eq!(notes(), format!("{}\n", pairs[0].access));

    world::rotate_by_rename(&debian, &document(&pairs[1]));
    debian.wait_until("the service has the next one", SOON, || notes().contains(&pairs[1].access));
    debian.exec_user("tokensink sync").ok();
    assert_eq!(notes(), format!("{}\n{}\n", pairs[0].access, pairs[1].access), "one restart");
    assert!(!debian.read_user("token.cred").unwrap().contains(&pairs[1].access));
    assert_no_canary(&debian, &pairs);
    debian.exec_user("systemctl --user stop tokensink").ok();
    debian
}

/// The manager of a user reads such a credential itself from systemd 258 on; Debian's next release,
/// which changes every day and is another root to make, is part of the long form only.
#[test]
fn a_users_service_on_trixie_decrypts_the_token_and_the_next_one_after_a_rotation() {
    let debian = supply_a_user("trixie", DECRYPTING);
    debian.write_user("/home/alice/.config/systemd/user/stock.service", &unit("%h/token.cred", "%h/never"));
    let stock = debian.exec_user("systemctl --user daemon-reload; systemctl --user start stock");
    let why = debian.exec_user("journalctl --user --sync; journalctl --user -o cat -u stock");
    assert!(stock.code != Some(0) && why.ok().contains("set up credentials: Permission denied"), "{why}");
    sandbox::assert_it_holds(&debian);
    if std::env::var_os("TOKENSINK_LONG").is_some() {
        supply_a_user("forky", &unit("%h/token.cred", "%h/notes"));
    }
}

#[test]
fn on_bookworm_a_user_is_told_that_systemd_is_too_old_and_root_is_supplied() {
    let debian = BootedDebian::start("bookworm");
    world::install(&debian);
    let pairs = [Pair::invent("claude"), Pair::invent("claude")];
    debian.write_user(SOURCE, &document(&pairs[0]));
    debian.write_user("/home/alice/.config/tokensink/tokensink.toml", &configuration("~/token.cred", "user"));
    let told = debian.exec_user("tokensink sync");
    assert!(told.ok().contains("VERSION_UNSUPPORTED sealed: systemd 252 is installed"), "{told}");
    assert_eq!(debian.read_user("token.cred"), None);

    let root = |path: &str| debian.root().join(path);
    for directory in ["root/.claude", "root/.config/tokensink", "etc/credstore.encrypted"] {
        std::fs::create_dir_all(root(directory)).unwrap();
    }
    let credential = "/etc/credstore.encrypted/claude-token";
    std::fs::write(root("root/.claude/.credentials.json"), document(&pairs[0])).unwrap();
    std::fs::write(root("root/.config/tokensink/tokensink.toml"), configuration(credential, "system"))
        .unwrap();
    std::fs::write(root("etc/systemd/system/reader.service"), unit(credential, "/root/notes")).unwrap();
    debian.exec_root("systemctl daemon-reload; tokensink sync").ok();
    debian.exec_root("systemctl start reader").ok();
    let notes = || std::fs::read_to_string(root("root/notes")).unwrap_or_default();
    assert_eq!(notes(), format!("{}\n", pairs[0].access));
    std::fs::write(root("root/.claude/.credentials.json"), document(&pairs[1])).unwrap();
    debian.exec_root("tokensink sync").ok();
    assert_eq!(notes(), format!("{}\n{}\n", pairs[0].access, pairs[1].access), "one restart");
    assert_no_canary(&debian, &pairs);
}
