//! Sinks of kind `systemd-creds`: an encrypted credential for `LoadCredentialEncrypted=`. What can be
//! said of the program that makes it without running it. Facts, by running systemd 252, 257 and 262:
//! `--user`, and the service that encrypts for ordinary users, came with 256; the manager of a user
//! could not decrypt such a credential itself in 257 (upstream: from 258 on), `systemd-creds
//! --user decrypt` can.

use std::path::Path;

use crate::base::code::Code;
use crate::base::id::SinkId;
use crate::core::model::TargetContent;
use crate::sys::atomic_file::{self, FileState};
use crate::sys::search;

use super::{Place, file_place};

/// The program that encrypts.
pub const PROGRAM: &str = "systemd-creds";
/// The first release in which an ordinary user can have a credential of their own.
const FIRST_FOR_USERS: u32 = 256;

/// The file as it is; refused where the installed systemd cannot do it for this user.
pub fn place(sink: &SinkId, path: &Path, search_path: &str) -> Place {
    let mut place = file_place(sink, "", path);
    if let Some(version) = too_old(search_path) {
        let why = format!(
            "systemd {version} is installed: it encrypts credentials for root only, for users from {FIRST_FOR_USERS} on"
        );
        place.observed.content = TargetContent::Refused(Code::VersionUnsupported, why);
    }
    place
}

/// True for root, whose credentials are the system manager's.
#[must_use]
pub fn is_for_system() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The installed version, if it is too old for this user.
fn too_old(search_path: &str) -> Option<u32> {
    if is_for_system() {
        return None;
    }
    let program = search::find_on(search_path, PROGRAM)?;
    let FileState::Present(file) = atomic_file::observe(&program) else { return None };
    version_in(file.document.expose()).filter(|version| *version < FIRST_FOR_USERS)
}

/// The version of systemd, by the name of the library that its programs are linked to:
/// `libsystemd-shared-257.so`, with a distribution's suffix after the number. `None` for a program
/// without it; whether that one can do it is found out by running it.
#[must_use]
pub fn version_in(program: &[u8]) -> Option<u32> {
    const LIBRARY: &[u8] = b"libsystemd-shared-";
    let at = program.windows(LIBRARY.len()).position(|window| window == LIBRARY)?;
    let rest = program.get(at + LIBRARY.len()..)?;
    let digits: String = rest.iter().map_while(|b| b.is_ascii_digit().then_some(char::from(*b))).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_number_in_the_name_of_the_library() {
        for (text, version) in [
            (&b"\x7fELF\0libc.so.6\0libsystemd-shared-252.so\0"[..], Some(252)),
            (b"libsystemd-shared-257.10-2.fc42.so", Some(257)),
            (b"#!/bin/sh\n", None),
            (b"libsystemd-shared-", None),
        ] {
            assert_eq!(version_in(text), version);
        }
    }
}
