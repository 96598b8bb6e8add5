//! The floor: what no program can do without. An inotify event, one read, three files written,
//! synced, renamed, three directories synced; no comparison, no memory, no lock.
//!
//! Run as a child (`hot_path floor SOURCE OAUTH ENV SECRET`), like everything it is compared with.
//! After the last directory is synced it says so by a line on its standard output.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use inotify::{Inotify, WatchMask};

/// Never returns; the parent ends it.
pub fn run(paths: &[PathBuf]) -> ! {
    let [source, oauth, env, secret] = paths else { panic!("floor SOURCE OAUTH ENV SECRET") };
    let mut inotify = Inotify::init().unwrap();
    let directory = source.parent().unwrap();
    inotify.watches().add(directory, WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO).unwrap();
    say("ready");
    let mut buffer = [0; 8192];
    loop {
        let events = inotify.read_events_blocking(&mut buffer).unwrap();
        if events.filter(|e| e.name == source.file_name()).count() == 0 {
            continue;
        }
        let document: serde_json::Value = serde_json::from_slice(&std::fs::read(source).unwrap()).unwrap();
        let login = &document["claudeAiOauth"];
        let access = login["accessToken"].as_str().unwrap();
        let json = serde_json::json!({"anthropic": {
            "access": access, "refresh": login["refreshToken"], "expires": login["expiresAt"], "scopes": login["scopes"],
        }});
        write(oauth, json.to_string().as_bytes());
        write(env, format!("OTHER=kept\nANTHROPIC_OAUTH_TOKEN={access}\n").as_bytes());
        let json = serde_json::json!({"access_token": access, "expires_at": login["expiresAt"]});
        write(secret, json.to_string().as_bytes());
        say("done");
    }
}

fn write(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("floor");
    let mut file = File::create(&temporary).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    std::fs::rename(&temporary, path).unwrap();
    File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}
