//! Whole documents on standard input and output.

use std::io::{self, Read as _, Write as _};

use nix::errno::Errno;

use crate::base::secret::Document;

/// Writes a document to standard output, durably where that is a file.
///
/// # Errors
/// When not all of it was taken.
pub fn give(document: &Document) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(document.expose())?;
    stdout.flush()?;
    match nix::unistd::fsync(&stdout) {
        // A pipe, a socket, a device: who reads it answers for it.
        Ok(()) | Err(Errno::EINVAL | Errno::EROFS | Errno::ENOTSUP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads standard input to its end; `None` where it is longer than `most` bytes.
///
/// # Errors
/// When it cannot be read.
pub fn take(most: usize) -> io::Result<Option<Document>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= most).then(|| Document::new(bytes)))
}
