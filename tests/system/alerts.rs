//! The secret of an alert channel as a credential of the sandboxed unit, by the drop-in of the manual, for an
//! ordinary user; and what the journal says of a message that was not delivered.

use super::SOON;
use super::support::nspawn::BootedDebian;
use super::support::world;

/// Nobody listens there: a message with its secret gets as far as this.
const URL: &str = "http://127.0.0.1:9/topic";

#[test]
fn the_manager_hands_the_unit_its_credential_and_a_typed_test_finds_it_there() {
    let debian = BootedDebian::start("bookworm");
    world::install(&debian);
    let config = format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[[alert]]\nkind = \"ntfy\"\nurl = \"{URL}\"\n\
         credential = \"ntfy-token\"\n"
    );
    debian.write_user("/home/alice/.config/tokensink/tokensink.toml", &config);
    debian.write_user("/home/alice/.config/tokensink/ntfy.token", "tk_made_up\n");
    let lacking = debian.exec_user("tokensink alert test");
    assert!(lacking.stdout.contains("there is no credential 'ntfy-token'"), "{lacking}");
    assert_eq!(lacking.code, Some(1));

    debian.write_user(
        "/home/alice/.config/systemd/user/tokensink.service.d/alert.conf",
        "[Service]\nLoadCredential=ntfy-token:%h/.config/tokensink/ntfy.token\n",
    );
    debian.exec_user("systemctl --user daemon-reload; systemctl --user start tokensink").ok();
    let typed = debian.exec_user("tokensink alert test");
    assert_eq!(typed.stdout, "ntfy: not delivered: http://127.0.0.1:9: no connection\n", "{typed}");

    // The missing login is told, and that could not be delivered either.
    let said = || {
        debian.exec_user(
            "journalctl --user --sync; journalctl --user -u tokensink -o cat \
             --output-fields=TOKENSINK_CHANNEL,TOKENSINK_EVENT,TOKENSINK_CODE,MESSAGE \
             -o json TOKENSINK_CHANNEL=ntfy",
        )
    };
    debian.wait_until("the journal knows", SOON, || said().stdout.contains("no connection"));
    let entry = said();
    for field in ["\"TOKENSINK_EVENT\":\"raised\"", "\"TOKENSINK_CODE\":\"MISSING\""] {
        assert!(entry.stdout.contains(field), "{entry}");
    }
    let everything =
        debian.exec_user("journalctl --user -o export; tokensink status --json; tokensink config show");
    assert!(
        !everything.stdout.contains("tk_made_up") && !everything.stdout.contains(":9/topic"),
        "{everything}"
    );
    debian.exec_user("systemctl --user stop tokensink").ok();
}
