//! A file of lines that only grows at its end, and its predecessor: what is full becomes the
//! predecessor, whose content is forgotten. Lines of one call are one write behind everything that is
//! there (`O_APPEND`), so that several processes may write; what a crash left torn is closed by the next
//! line. Not synced: the last lines before a power loss may be missing. Nothing is interpreted here.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc;

use crate::sys::failpoint;

/// The file and how long it may become.
#[derive(Debug, Clone)]
pub struct AppendLog {
    path: PathBuf,
    cap: u64,
}

impl AppendLog {
    /// Names it; nothing is made yet. Both files together hold at most twice `cap` bytes, and what
    /// writers add that are at it while it is put aside.
    #[must_use]
    pub const fn new(path: PathBuf, cap: u64) -> Self {
        Self { path, cap }
    }

    /// The file that was full.
    #[must_use]
    pub fn predecessor(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        PathBuf::from(name)
    }

    /// Adds whole lines; a new file is 0600.
    ///
    /// # Errors
    /// When the system refuses; a part of the lines may be there then.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        let mut file = self.open()?;
        let adds = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let length = file.metadata()?.len();
        // Whoever does not get the lock leaves that to the one who has it.
        if length > 0 && length.saturating_add(adds) >= self.cap && file.try_lock().is_ok() {
            if self.is_at_the_path(&file) {
                nix::fcntl::renameat(
                    nix::fcntl::AT_FDCWD,
                    &self.path,
                    nix::fcntl::AT_FDCWD,
                    &self.predecessor(),
                )?;
            }
            file = self.open()?;
        }
        let mut whole = Vec::new();
        if is_torn(&file)? {
            whole.push(b'\n');
        }
        whole.extend_from_slice(lines);
        if failpoint::is_armed("append-half") {
            file.write_all(whole.get(..whole.len() / 2).unwrap_or_default())?;
            failpoint::die();
        }
        file.write_all(&whole)
    }

    /// Everything that is there, oldest first.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        for path in [self.predecessor(), self.path.clone()] {
            match File::open(path) {
                Ok(file) => file.take(self.cap.saturating_mul(2)).read_to_end(&mut all)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if all.last().is_some_and(|last| *last != b'\n') {
                all.push(b'\n');
            }
        }
        Ok(all)
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file =
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    fn is_at_the_path(&self, file: &File) -> bool {
        let identity = |path: &Path| std::fs::symlink_metadata(path).map(|m| (m.dev(), m.ino())).ok();
        let ours = file.metadata().map(|m| (m.dev(), m.ino())).ok();
        ours.is_some() && identity(&self.path) == ours
    }
}

/// Whether the last line was not ended.
fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [b'\n'];
    file.read_at(&mut byte, last)?;
    Ok(byte != [b'\n'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn lines(log: &AppendLog) -> Vec<String> {
        String::from_utf8(log.read().unwrap()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_new_file_is_closed_to_others_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let log = AppendLog::new(dir.path().join("log"), 100);
        log.append(b"one\n").unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("log")).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(dir.path().join("log"), dir.path().join("link")).unwrap();
        let error = AppendLog::new(dir.path().join("link"), 100).append(b"two\n").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(AppendLog::new(dir.path().join("pipe"), 100).append(b"two\n").is_err());
        assert_eq!(lines(&log), ["one"]);
    }

    #[test]
    fn writers_of_several_threads_tear_no_line_and_lose_none_before_the_second_turn() {
        let dir = tempfile::tempdir().unwrap();
        // Room for all of them in the two files: one turn happens, no second one.
        let log = AppendLog::new(dir.path().join("log"), 24_000);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for n in 0..200 {
                        log.append(format!("writer {writer} line {n:03} {}\n", "x".repeat(30)).as_bytes())
                            .unwrap();
                    }
                });
            }
        });
        let mut found = lines(&log);
        // A writer that finds another one in the middle of its line takes that for a torn one.
        found.retain(|line| !line.is_empty());
        assert!(log.predecessor().exists(), "it turned");
        assert!(found.iter().all(|line| line.len() == 48), "no line is torn");
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 800);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever is written and wherever a crash cuts the file: what can be read is the newest whole
        /// lines in order, at most one torn one where the cut was, never more bytes than two files hold.
        #[test]
        fn what_is_left_is_the_newest_lines_in_order(
            lengths in prop::collection::vec(1_usize..60, 1..80),
            cut in prop::option::of((0_usize..80, 1_u64..40)),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let log = AppendLog::new(dir.path().join("log"), 500);
            let mut torn = None;
            for (n, length) in lengths.iter().enumerate() {
                log.append(format!("{n:04}{}\n", "x".repeat(*length)).as_bytes()).unwrap();
                if let Some((at, bytes)) = cut && at == n {
                    let file = OpenOptions::new().write(true).open(dir.path().join("log")).unwrap();
                    let left = file.metadata().unwrap().len().saturating_sub(bytes);
                    file.set_len(left).unwrap();
                    torn = Some(n);
                }
            }
            let found = lines(&log);
            let whole: Vec<usize> = found
                .iter()
                .filter_map(|line| {
                    let n: usize = line.get(..4)?.parse().ok()?;
                    (line.len() == 4 + lengths.get(n)?).then_some(n)
                })
                .collect();
            prop_assert!(found.len() <= whole.len() + 1, "more than one torn line: {found:?}");
            prop_assert!(whole.windows(2).all(|pair| pair[0] < pair[1]), "in order: {whole:?}");
            let newest = lengths.len() - 1;
            prop_assert!(whole.last() == Some(&newest) || torn == Some(newest));
            if let Some(first) = whole.first() {
                // Without gaps, but for what the cut took.
                let missing = (*first..=newest).filter(|n| !whole.contains(n)).count();
                prop_assert!(missing <= if torn.is_some() { 1 + 40 / 5 } else { 0 }, "{whole:?}");
            }
            let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
            prop_assert!(size(&dir.path().join("log")) <= 500 && size(&log.predecessor()) <= 500);
        }
    }
}
